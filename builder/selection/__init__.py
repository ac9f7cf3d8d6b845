"""Which paragraphs to have labelled next: what a student is unsure of, no two alike, none labelled already."""
