"""The Lightning callbacks that the options build."""
