"""Settings of the callbacks that watch a training run; each builds a Lightning callback."""
