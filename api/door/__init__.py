"""Who calls, what they may ask for and how often, and what is written down of it."""
