"""From texts to token ids and batches."""
