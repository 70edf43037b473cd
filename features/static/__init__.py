"""Static rows: numbers of an entity that come from a file, not from events."""
