"""Ways to make a classifier do with fewer weights, one file each."""
