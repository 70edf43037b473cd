"""The commands, and the one place that builds real clients."""
