"""Which models serve: champion and challengers, loaded, tried out and exchanged."""
