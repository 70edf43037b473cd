"""What callers send and look at beside scores, one kind a file."""
