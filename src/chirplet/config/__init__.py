"""Settings of every group, and what is checked of them."""
