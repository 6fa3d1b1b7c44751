"""Pruning methods, one per file."""
