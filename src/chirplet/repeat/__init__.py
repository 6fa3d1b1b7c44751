"""A run made again from its record alone: `python run.py repeat=ARTIFACT`."""
