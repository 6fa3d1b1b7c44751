"""Sources of tweets; repair, splitting, cleaning, tokenization and batching."""
