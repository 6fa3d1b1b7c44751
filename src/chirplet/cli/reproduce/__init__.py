"""A run again, from the record of its artifact."""
