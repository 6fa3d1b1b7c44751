"""What came of a sweep: tables, figures, the best settings."""
