"""The published description of the routes."""
