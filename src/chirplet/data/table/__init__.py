"""Read, stream and write tables of texts as CSV, TSV, Parquet and JSONL."""
