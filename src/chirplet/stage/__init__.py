"""What `chirplet stage=NAME` can do, one stage a file."""
