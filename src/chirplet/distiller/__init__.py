"""What a student learns from its teacher, one kind a file."""
