"""Data sets as streams of requests and labels, and the service that they are played to."""
