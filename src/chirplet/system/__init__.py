"""Errors, files, locks, processes, hardware and the console."""
