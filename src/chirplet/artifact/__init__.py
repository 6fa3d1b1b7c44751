"""The folder that a stage writes, its record, and the hub it may go to."""
