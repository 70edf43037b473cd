"""Tidemill: live scoring with models that learn from every outcome."""

from tidemill.breaker import Breaker
from tidemill.compression import Compression
from tidemill.dataset_rule import DatasetRule, Match, Share
from tidemill.declaration import BadCase, Project
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
from tidemill.gate import Gate
from tidemill.label import Label
from tidemill.learner_kinds import EmbeddingNet, Linear, Mixture, River, TreeHead
from tidemill.search import Between, OneOf, Search
from tidemill.serving import Serving
from tidemill.sources import Entity, Event, Request
from tidemill.static_row import StaticRow
from tidemill.trainer_kinds import LightGBM, LinearModel, NetModel, OwnModel
from tidemill.trial import Trial

__version__ = "0.1.0"
__all__ = [
    "BadCase",
    "Between",
    "Breaker",
    "Compression",
    "DatasetRule",
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
    "LinearModel",
    "Match",
    "Mixture",
    "NetModel",
    "OneOf",
    "OwnModel",
    "Project",
    "Request",
    "RequestFeature",
    "River",
    "Search",
    "Serving",
    "Share",
    "StaticRow",
    "TreeHead",
    "Trial",
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
