"""What people read: tables on the terminal, plots, pages."""
