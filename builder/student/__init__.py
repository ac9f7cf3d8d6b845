"""The student: a small encoder with three heads that labels paragraphs (training, files, prediction)."""
