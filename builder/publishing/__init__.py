"""Publishing to the Hugging Face Hub: a reader never sees half of it, and text of noncommercial articles never leaves.

One publication goes so, a module each::

    contents    what a folder holds that is to be published; by kind in dataset, annotations, space
    remote      what is on the Hub
    plan        what is sent, deleted, left alone
    tables      every table that is to leave is read, row by row (rows), and must be those rows and nothing else
    sending     large files, one at a time, from a copy that nobody else writes to
    committing  all of it in one commit, on top of what was looked at
    verifying   every file of the commit, by the hash that the Hub lists; tables that must have no text are fetched back
    tagging     vYYYY.MM.DD, last: a tag names only what was verified
    publishing  the order of these

What was killed goes on: files that are there are not sent again, and what is committed is verified and tagged.
"""
