"""Lightning callbacks, built by the settings."""
