"""Training: settings, callbacks, DDP processes and the fit."""
