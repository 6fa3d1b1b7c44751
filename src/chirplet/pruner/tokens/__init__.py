"""Remove tokens from a tokenizer and its embedding table."""
