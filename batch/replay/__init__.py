"""Time travel: features, weights and score of past predictions, from the log and releases alone."""
