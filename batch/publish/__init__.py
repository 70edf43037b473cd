"""What becomes of a release: orders, comparison, lineage, and its record in MLflow."""
