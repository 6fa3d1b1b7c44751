"""How results reach loggers: resumed, guarded, in the end."""
