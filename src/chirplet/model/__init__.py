"""Pretrained encoders with a classification head: finding, loading, freezing, grouping their parameters."""
