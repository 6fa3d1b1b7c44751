"""How a stage writes and verifies its artifact."""
