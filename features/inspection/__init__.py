"""One entity as a person reads it."""
