"""A release of each family as an ONNX graph."""
