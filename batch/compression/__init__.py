"""Compression: a release made smaller and faster within a limit of what that may cost."""
