"""What the rest stands on: errors, files, locks, processes, hardware and the console."""
