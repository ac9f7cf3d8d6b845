"""From labelled paragraphs to the dataset folder: recipes, buckets, counts, the card, the report."""
