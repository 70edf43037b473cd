"""Datasets: what a model is trained on, made from the archive, named by its content."""
