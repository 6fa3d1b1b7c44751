"""Serve artifacts over HTTP: batching, limits, metrics."""
