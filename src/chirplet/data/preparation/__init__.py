"""Preparation of a corpus: repair, splitting, deduplication and cleaning."""
