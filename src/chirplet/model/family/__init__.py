"""Where the parts of an encoder are, family by family."""
