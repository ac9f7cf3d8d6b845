"""Labels given by annotators: files, prompts, and how they are joined to paragraphs."""
