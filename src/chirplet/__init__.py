"""chirplet: small, fast, trustworthy tweet-sentiment models."""

__version__ = "0.1.0"
