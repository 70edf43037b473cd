"""A small net over numbers and embedded ids that learns online, block by block."""
