"""How trials are run: workers, leases and processes."""
