"""Trainers: from rows to the bytes of a model."""
