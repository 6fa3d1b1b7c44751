"""Ways to store and compute a classifier in fewer bits, one file each."""
