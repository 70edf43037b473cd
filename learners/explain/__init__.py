"""What each feature of a vector added to its score, for every model that can say so exactly."""
