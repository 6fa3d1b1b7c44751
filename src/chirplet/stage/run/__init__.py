"""What a run is given, and what tells it from others."""
