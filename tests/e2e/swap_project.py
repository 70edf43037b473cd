"""A service whose models say one number, as fast as they are told to: for swaps of bad ones."""

import json
import time

import numpy as np

import tidemill as tm

SLOWEST_US = 20_000.0


class Spoken:
    """A model is JSON: the log-odds it always says, and the seconds it takes for that."""

    def train(self, vectors, labels, weights, schema, task) -> bytes:
        """Nothing is learned from data."""
        raise NotImplementedError

    def load(self, model: bytes):
        """What says it."""
        told = json.loads(model)

        def raw(vectors):
            time.sleep(told["seconds"])
            return np.full(len(vectors), told["raw"], np.float64)

        return raw


paid = tm.Event("paid", key="card", fields={"card": str, "amount": float})
request = tm.Request({"card": str, "amount": float})

project = tm.Project(
    name="swaps",
    events=(paid,),
    request=request,
    features=(
        tm.RequestFeature("amount", request.amount),
        tm.Window("paid", paid, ("count",), (tm.Entity("card", ("card",)),), ("1h",)),
    ),
    label=tm.Label(wait="1d"),
    learner=tm.Linear(hash_bits=None),
    trainer=tm.OwnModel("spoken", Spoken),
    serving=tm.Serving(slowest_us=SLOWEST_US),
)
