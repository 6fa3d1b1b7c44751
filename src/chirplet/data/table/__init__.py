"""Tables of texts: read, streamed and written as CSV, TSV, Parquet, JSONL."""
