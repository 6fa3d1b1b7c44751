"""Artifacts: the folder that a stage writes, its record, and uploads to the hub."""
