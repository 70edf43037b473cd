"""Models that learn from one example after another, and what they are started from and saved as."""
