"""A small project of card payments, and models trained for it."""

import lightgbm
import numpy as np

from features.plan import FeaturePlan
from tidemill import (
    BadCase,
    Entity,
    Event,
    Label,
    Project,
    Request,
    RequestFeature,
    Window,
    category,
    column,
    hour,
)


def make_project() -> Project:
    """Payments of cards at shops: two entities, three request features, a rule of each kind."""
    payment = Event("payment", "card", {"card": str, "shop": str, "amount": float})
    request = Request({"card": str, "shop": str, "amount": float, "country": str | None})
    card, shop = Entity("card", ("card",)), Entity("shop", ("shop",))
    return Project(
        name="payments",
        events=(payment,),
        request=request,
        features=(
            Window("paid", payment, ("count", "sum"), (card, shop), ("1h", "24h"), payment.amount),
            RequestFeature("amount", request.amount),
            RequestFeature("hour", hour(request.time)),
            RequestFeature("country", category(request.country), categorical=True),
        ),
        label=Label(("card", "shop"), "1d"),
        bad_cases=(
            BadCase("large", column("amount") > 5_000),
            BadCase("sure_but_wrong", (column("score") > 0.9) & column("label").equals(0)),
        ),
    )


def train_model(plan: FeaturePlan, seed: int = 1) -> bytes:
    """The text of a small LightGBM model over the project's features."""
    random = np.random.default_rng(seed)
    matrix = random.normal(50, 30, (600, len(plan.schema.names))).astype(np.float32)
    matrix[random.random(matrix.shape) < 0.2] = np.nan
    labels = np.nan_to_num(matrix[:, -3]) + random.normal(0, 20, 600) > 50
    parameters = {"objective": "binary", "num_leaves": 8, "verbose": -1, "num_threads": 1}
    data = lightgbm.Dataset(matrix, labels, feature_name=list(plan.schema.names))
    return lightgbm.train(parameters, data, 10).model_to_string().encode()
