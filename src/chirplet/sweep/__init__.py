"""Sweeps: planning, running trials, and results."""
