"""What `python run.py stage=NAME` can do, one stage a file."""
