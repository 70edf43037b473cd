"""From a request to its answer, and behind the answer to the log."""
