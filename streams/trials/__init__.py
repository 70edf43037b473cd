"""Challengers beside the champion: they learn, are compared, and get or lose its place."""
