"""chirplet's Optuna sweeper, as a Hydra plugin."""
