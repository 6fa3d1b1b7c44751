"""Classification metrics and significance tests."""
