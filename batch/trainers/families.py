"""From declared settings to a trainer, for every kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from batch.progress import Progress, Silent
from batch.trainers.trainer import Trainer
from learners.release import ModelFile
from tidemill.errors import ArtifactError, DeclarationError
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task
from tidemill.trainer_kinds import LightGBM, LinearModel, NetModel, OwnModel, TrainerKind


def new_trainer(  # noqa: PLR0913  what every trainer is made of
    settings: TrainerKind,
    schema: FeatureSchema,
    task: Task,
    threads: int = 0,
    progress: Progress | None = None,
    champion: ModelFile | None = None,
    checkpoints: Path | None = None,
) -> Trainer:
    """The trainer of these settings; `threads` 0 means all cores.

    `champion` is what settings that go on from a model go on from, None: from nothing. Under the
    folder `checkpoints` a long training keeps what it takes to go on where it was killed.
    Raises DeclarationError for settings of no known kind, SettingsError where an extra is missing.
    """
    make = _FAMILIES.get(type(settings))
    if make is None:
        allowed = "one of " + ", ".join(kind.__name__ for kind in _FAMILIES)
        raise DeclarationError("trainer", type(settings).__name__, allowed)
    trainer: Trainer = make(
        settings, schema, task, threads, progress or Silent(), champion, checkpoints
    )
    return trainer


def _trees(settings: LightGBM, *rest: Any) -> Trainer:
    from batch.trainers.trees import TreesTrainer

    return TreesTrainer(settings, *rest[:-1])


def _linear(settings: LinearModel, *rest: Any) -> Trainer:
    from batch.trainers.linear import LinearTrainer

    schema, task, _, progress, *_ = rest
    return LinearTrainer(settings, schema, task, progress=progress)


def _net(settings: NetModel, *rest: Any) -> Trainer:
    from batch.trainers.net.trainer import NetTrainer

    schema, task, _, progress, _, checkpoints = rest
    # Not the cores: a net's bytes are to be the same on any number of them.
    return NetTrainer(settings, schema, task, progress=progress, checkpoints=checkpoints)


def _own(settings: OwnModel, *rest: Any) -> Trainer:
    from batch.trainers.own import OwnTrainer

    schema, task, _, progress, *_ = rest
    return OwnTrainer(settings, schema, task, progress)


# A family is imported when it is asked for: LightGBM and torch are large.
_FAMILIES: dict[type, Callable[..., Trainer]] = {
    LightGBM: _trees,
    LinearModel: _linear,
    NetModel: _net,
    OwnModel: _own,
}


def settings_as_json(settings: TrainerKind) -> bytes:
    """Settings as a run keeps them."""
    name = settings.name if isinstance(settings, OwnModel) else ""
    plain = dict(settings.settings) if isinstance(settings, OwnModel) else asdict(settings)
    return msgspec.json.format(
        msgspec.json.encode({"trainer": type(settings).__name__, "name": name, "settings": plain})
    )


def settings_from_json(data: bytes, declared: Sequence[TrainerKind]) -> TrainerKind:
    """Settings as a run kept them; a trainer of one's own is found among the declared ones.

    Raises ArtifactError for anything else.
    """
    try:
        said = msgspec.json.decode(data, type=_Said)
        if said.trainer == OwnModel.__name__:
            own = next(d for d in declared if isinstance(d, OwnModel) and d.name == said.name)
            return replace(own, settings=tuple(sorted(said.settings.items())))
        kind = next(kind for kind in _FAMILIES if kind.__name__ == said.trainer)
        found: TrainerKind = msgspec.convert(said.settings, kind)
    except (msgspec.MsgspecError, StopIteration, DeclarationError) as error:
        raise ArtifactError(f"trainer's settings: {error!r}") from error
    return found


class _Said(msgspec.Struct):
    trainer: str
    name: str
    settings: dict[str, Any]
