"""From raw texts to a split, clean corpus."""
