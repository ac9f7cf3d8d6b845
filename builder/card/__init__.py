"""The dataset card: what it says, and the numbers, words and pictures that it says it with."""
