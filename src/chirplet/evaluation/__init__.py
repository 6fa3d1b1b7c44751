"""Evaluate a model's quality, size and speed."""
