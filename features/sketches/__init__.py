"""Small summaries of many values: how many distinct ones, their quantiles, the most frequent."""

from features.sketches.state import LAYOUT, SketchRing, SketchState

__all__ = ["LAYOUT", "SketchRing", "SketchState"]
