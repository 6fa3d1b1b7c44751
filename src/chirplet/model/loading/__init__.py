"""Load weights and tokenizers from the bundled package, a folder or the hub."""
