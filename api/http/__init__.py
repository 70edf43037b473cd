"""The server and the way of a request to its handler and of a refusal back."""
