"""Which tokens go, and what becomes of the tokenizer."""
