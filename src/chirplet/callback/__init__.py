"""Settings of the training callbacks; each builds a Lightning callback."""
