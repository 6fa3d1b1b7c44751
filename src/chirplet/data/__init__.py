"""Where tweets come from, how they are repaired, split, cleaned, tokenised and batched."""
