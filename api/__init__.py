"""The process that scores over HTTP: one store read and one model call for all waiting requests."""
