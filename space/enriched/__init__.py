"""What the pages of the Space are made of: a dataset read where it lies, a classifier, and the means to show both."""
