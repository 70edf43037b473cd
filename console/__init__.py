"""The web page that shows a running service; it talks JSON to the api and to nothing else."""
