"""The archive: what went over the topics, as Parquet, and what is computed from it again."""
