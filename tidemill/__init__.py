"""Tidemill: live scoring with models that learn from every outcome."""

from tidemill.breaker import Breaker
from tidemill.declaration import BadCase, Gate, LightGBM, Project
from tidemill.drift import Drift
from tidemill.expressions import (
    absolute,
    category,
    column,
    day_of_week,
    exp,
    fingerprint,
    floor,
    hour,
    if_else,
    log,
    maximum,
    minimum,
    minute_of_day,
    present,
    sqrt,
)
from tidemill.feature_kinds import DerivedFeature, LabelRate, RequestFeature, Window
from tidemill.label import Label
from tidemill.learner_kinds import EmbeddingNet, Linear, Mixture, River, TreeHead
from tidemill.sources import Entity, Event, Request
from tidemill.static_row import StaticRow

__version__ = "0.1.0"
__all__ = [
    "BadCase",
    "Breaker",
    "DerivedFeature",
    "Drift",
    "EmbeddingNet",
    "Entity",
    "Event",
    "Gate",
    "Label",
    "LabelRate",
    "LightGBM",
    "Linear",
    "Mixture",
    "Project",
    "Request",
    "RequestFeature",
    "River",
    "StaticRow",
    "TreeHead",
    "Window",
    "absolute",
    "category",
    "column",
    "day_of_week",
    "exp",
    "fingerprint",
    "floor",
    "hour",
    "if_else",
    "log",
    "maximum",
    "minimum",
    "minute_of_day",
    "present",
    "sqrt",
]
