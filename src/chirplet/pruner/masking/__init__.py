"""Which weights are zero: scores, masks and schedules."""
