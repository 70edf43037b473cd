"""Nets trained with torch (the extra `torch`): what they learn from, and how fast."""
