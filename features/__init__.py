"""Library: windows over events, the online store, encoding and replay of feature vectors."""
