"""Pack samples into shards: loose files into tars, texts and rows into parquet."""
