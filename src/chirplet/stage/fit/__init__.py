"""How stages train."""
