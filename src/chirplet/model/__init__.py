"""Pretrained encoders with a classification head."""
