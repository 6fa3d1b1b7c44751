"""An encoder's parts frozen, grouped for the optimizer, left out."""
