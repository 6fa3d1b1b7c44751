"""What a sweep is to do: space, settings, study and its storage."""
