"""A forward pass without padding."""
