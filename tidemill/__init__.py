"""Tidemill: live scoring with models that learn from every outcome."""

from tidemill.declaration import BadCase, Gate, Label, LightGBM, Project, TreeHead
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
from tidemill.sources import Entity, Event, Request
from tidemill.static_row import StaticRow

__version__ = "0.1.0"
__all__ = [
    "BadCase",
    "DerivedFeature",
    "Entity",
    "Event",
    "Gate",
    "Label",
    "LabelRate",
    "LightGBM",
    "Project",
    "Request",
    "RequestFeature",
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
