"""Tidemill: live scoring with models that learn from every outcome."""

from tidemill.declaration import (
    BadCase,
    DerivedFeature,
    Entity,
    Event,
    Gate,
    Label,
    LightGBM,
    Project,
    Request,
    RequestFeature,
    TreeHead,
    Window,
)
from tidemill.expressions import (
    absolute,
    category,
    column,
    day_of_week,
    hour,
    minute_of_day,
    present,
)

__version__ = "0.1.0"
__all__ = [
    "BadCase",
    "DerivedFeature",
    "Entity",
    "Event",
    "Gate",
    "Label",
    "LightGBM",
    "Project",
    "Request",
    "RequestFeature",
    "TreeHead",
    "Window",
    "absolute",
    "category",
    "column",
    "day_of_week",
    "hour",
    "minute_of_day",
    "present",
]
