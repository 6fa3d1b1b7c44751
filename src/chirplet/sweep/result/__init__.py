"""The results of a sweep: tables, figures, the best settings."""
