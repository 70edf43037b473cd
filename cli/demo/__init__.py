"""The demo: New York's flights of 2013 replayed through the whole service."""
