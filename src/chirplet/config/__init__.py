"""Settings of all groups, and their validation."""
