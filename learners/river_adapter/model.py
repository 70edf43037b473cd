"""An estimator of the River library as an expert: cold, row by row, restored without pickle."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Encoded, Scores, Vectors
from learners.river_adapter.decoding import decode
from learners.river_adapter.encoding import NotEncodable, encode
from tidemill.errors import ArtifactError, DeclarationError
from tidemill.learner_kinds import River
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task

EDGE = 1e-3
"""How near 0 or 1 an estimator's probability may come: many say 0 or 1 and mean "mostly"."""

MOST_REPEATS = 100
"""How often an example is learned at most, where an estimator takes no weight itself."""

MOST_VALUE = 1e18
"""What is larger is left out like a missing value: a square of it would spoil every mean."""

_REHEARSED = 60  # made-up rows; River's trees look at a split for the first time after 50

Row = dict[str, float | str]


class _State(msgspec.Struct, frozen=True, array_like=True):
    """The River version an estimator's attributes belong to, the estimator, the weight carried."""

    version: str
    estimator: bytes
    carried: float


class _Traits(NamedTuple):
    """What only trying an estimator out tells."""

    probable: bool  # it tells probabilities
    pure: bool  # predicting changes nothing: some take note of features they meet


class RiverModel:
    """Any River classifier or regression; it starts knowing nothing.

    Where an estimator takes no weights an example of weight w is learned ⌊w⌋ times, and what is
    left is carried to the next examples, so that the weights count in the mean. Where predicting
    changes an estimator a copy of it is asked. An estimator that walks over sets of names (River's
    AMRules) learns alike only in processes with the same PYTHONHASHSEED.
    """

    def __init__(
        self, settings: River, task: Task, schema: FeatureSchema, estimator: Any, traits: _Traits
    ) -> None:
        self._settings, self._task, self._schema = settings, task, schema
        self._estimator, self._traits = estimator, traits
        self._carried = 0.0
        self._asked: Any = estimator if traits.pure else None
        self._predict = _predictor(task, traits.probable)
        self._takes_weights = _takes_weights(estimator)

    @classmethod
    def start(cls, settings: River, task: Task, schema: FeatureSchema) -> RiverModel:
        """A new model. Raises DeclarationError for an estimator that cannot serve this task.

        A first estimator is tried out on made-up rows, and its state restored; it is then dropped.
        """
        traits = _tried_out(settings, task, schema)
        return cls(settings, task, schema, _made(settings, task), traits)

    @classmethod
    def restore(
        cls, settings: River, task: Task, schema: FeatureSchema, state: Encoded
    ) -> RiverModel:
        """The model of this `snapshot()`. Raises ArtifactError when it is damaged or another's."""
        try:
            saved = msgspec.msgpack.decode(state, type=_State)
        except (msgspec.DecodeError, ValueError) as error:
            raise ArtifactError(f"River state: {error}") from error
        if saved.version != _version():
            raise ArtifactError(f"River state: found River {saved.version}; allowed: {_version()}")
        estimator, expected = decode(saved.estimator), type(settings.make())
        if type(estimator) is not expected or not 0 <= saved.carried < 1:
            found = f"{type(estimator).__name__}, carried {saved.carried}"
            raise ArtifactError(f"River state: found {found}; allowed: {expected.__name__}")
        model = cls(settings, task, schema, estimator, _tried_out(settings, task, schema))
        model._carried = saved.carried
        return model

    def predict_many(self, vectors: Vectors) -> Scores:
        """Probabilities, within `EDGE`, or values."""
        return self._shaped([self._ask(row) for row in self._rows(vectors)])

    def learn_many(
        self, vectors: Vectors, labels: NDArray[np.float64], weights: NDArray[np.float64]
    ) -> Scores:
        """Predict, then learn, row by row; returns the predictions before learning."""
        predictions = []
        outcomes = _outcomes(self._task, labels)
        for row, label, weight in zip(self._rows(vectors), outcomes, weights.tolist(), strict=True):
            if weight > 0:
                predictions.append(self._predict(self._estimator, row))
                self._learn(row, label, weight)
            else:
                predictions.append(self._ask(row))
        return self._shaped(predictions)

    def _ask(self, row: Row) -> Any:
        """A prediction that changes nothing."""
        if self._asked is None:
            self._asked = decode(encode(self._estimator))
        return self._predict(self._asked, row)

    def snapshot(self) -> bytes:
        """Everything learned; equal states give equal bytes."""
        try:
            estimator = encode(self._estimator)
        except NotEncodable as error:
            raise ArtifactError(f"River {self._settings.name}: its state holds {error}") from error
        return msgspec.msgpack.encode(_State(_version(), estimator, self._carried))

    def clone(self) -> Self:
        """A model of its own with the same state."""
        estimator = decode(encode(self._estimator))
        twin = type(self)(self._settings, self._task, self._schema, estimator, self._traits)
        twin._carried = self._carried
        return twin

    def update_norm(self) -> float:
        """0: an estimator has no weights that one could ask for."""
        return 0.0

    def _learn(self, row: Row, label: Hashable, weight: float) -> None:
        if not self._traits.pure:
            self._asked = None
        if self._takes_weights:
            self._estimator.learn_one(row, label, w=weight)
            return
        self._carried += weight
        times = math.floor(self._carried)
        self._carried -= times
        for _ in range(min(times, MOST_REPEATS)):
            self._estimator.learn_one(row, label)

    def _rows(self, vectors: Vectors) -> list[Row]:
        missing, names = self._settings.missing, self._schema.names
        if missing is not None:
            vectors = np.where(np.isnan(vectors), np.float32(missing), vectors)
        rows: list[Row] = [
            {
                name: value
                for name, value in zip(names, row, strict=True)
                if -MOST_VALUE < value < MOST_VALUE  # NaN is not
            }
            for row in vectors.tolist()
        ]
        if self._settings.strings:
            for row in rows:
                row |= {name: f"{row[name]:g}" for name in self._schema.categorical if name in row}
        return rows

    def _shaped(self, predictions: list[Any]) -> Scores:
        shape = (-1, self._task.classes) if self._task.kind == "multiclass" else (-1,)
        return np.array(predictions, np.float64).reshape(shape)


def _version() -> str:
    from river.__version__ import __version__

    return __version__


def _made(settings: River, task: Task) -> Any:
    """A new estimator. Raises DeclarationError when it is none, or not one for the task."""
    from river import base

    estimator: Any = settings.make()
    last = getattr(estimator, "_last_step", estimator)
    kinds = {"regression": base.Regressor}.get(task.kind, base.Classifier)
    if not isinstance(estimator, base.Base) or not _is(last, kinds):
        raise DeclarationError(
            f"River {settings.name}.make", estimator, f"an estimator for {task.kind} labels"
        )
    if task.kind == "multiclass" and not last._multiclass:
        raise DeclarationError(
            f"River {settings.name}.make", estimator, "an estimator that knows several classes"
        )
    return estimator


def _is(estimator: Any, kind: type) -> bool:
    """Wrappers such as a scaler of the labels are told by what they wrap."""
    from river import base

    if isinstance(estimator, base.Wrapper) and not isinstance(estimator, kind):
        return _is(estimator._wrapped_model, kind)
    return isinstance(estimator, kind)


def _takes_weights(estimator: Any) -> bool:
    last = getattr(estimator, "_last_step", estimator)
    return "w" in inspect.signature(last.learn_one).parameters


def _outcomes(task: Task, labels: NDArray[np.float64]) -> list[Any]:
    """Labels as River likes them: bool for two classes, int for more."""
    if task.kind == "regression":
        return list(labels.tolist())
    return [bool(label) if task.kind == "binary" else int(label) for label in labels]


def _predictor(task: Task, probable: bool) -> Callable[[Any, Row], Any]:
    """A function from an estimator and a row to a number, or to a list of one for each class."""
    if task.kind == "regression":
        return lambda estimator, row: _finite(estimator.predict_one(row))
    labels: list[Any] = [False, True] if task.kind == "binary" else list(range(task.classes))

    def predict(estimator: Any, row: Row) -> Any:
        if probable:
            found = estimator.predict_proba_one(row)
        else:
            found = {estimator.predict_one(row): 1.0}
        shares = [max(_finite(found.get(label, 0.0)), 0.0) for label in labels]
        total = sum(shares)
        known = [share / total if total > 0 else 1 / len(shares) for share in shares]
        smooth = [EDGE / len(shares) + (1 - EDGE) * share for share in known]
        return smooth[1] if task.kind == "binary" else smooth

    return predict


def _finite(number: float | None) -> float:
    return float(number) if number is not None and math.isfinite(number) else 0.0


def _tried_out(settings: River, task: Task, schema: FeatureSchema) -> _Traits:
    """Learn made-up rows, save, restore: what cannot be done is said before the first example."""
    estimator, where = _made(settings, task), f"River {settings.name}.make"
    try:
        traits = _Traits(_is_probable(estimator, task), pure=True)
        model = RiverModel(settings, task, schema, estimator, traits)
        vectors, labels = _made_up(task, schema)
        new = vectors.copy()
        vectors[:, 0] = np.nan  # so that a feature is left to be met
        model.learn_many(vectors, labels, np.ones(_REHEARSED))
        state = encode(estimator)
        same = encode(decode(state)) == state
        model.predict_many(new)
        pure = encode(estimator) == state
    except NotEncodable as error:
        allowed = "estimators of River's own, with numbers"
        raise DeclarationError(where, str(error), allowed) from error
    except Exception as error:  # an estimator may fail in any way
        found = f"{type(error).__name__}: {error}"
        raise DeclarationError(where, found, "an estimator that learns these features") from error
    if not same:
        raise DeclarationError(where, estimator, "an estimator whose state can be restored")
    return traits._replace(pure=pure)


def _is_probable(estimator: Any, task: Task) -> bool:
    """Whether a classifier tells probabilities; a copy is asked: some note their first row."""
    if task.kind == "regression":
        return False
    try:
        copy: Any = decode(encode(estimator))
        copy.predict_proba_one({})
    except NotImplementedError:
        return False
    except NotEncodable:
        raise
    except Exception:  # before their first example some say nothing at all
        return True
    return True


def _made_up(task: Task, schema: FeatureSchema) -> tuple[Vectors, NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(_REHEARSED, len(schema.names))).astype(np.float32)
    vectors[rng.random(vectors.shape) < 0.1] = np.nan
    for name in schema.categorical:
        vectors[:, schema.names.index(name)] = rng.integers(0, 3, _REHEARSED)
    classes = {"binary": 2, "regression": 0}.get(task.kind, task.classes)
    labels = rng.integers(0, classes, _REHEARSED) if classes else rng.normal(size=_REHEARSED)
    return vectors, labels.astype(np.float64)
