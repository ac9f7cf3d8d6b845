"""How well predicted labels agree with reference labels."""
