"""How far a training is, in a file of its own: killed at any point it goes on from there."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.learner import Scores
from learners.tensor_file import read_tensors, write_tensors
from tidemill.durable import write_whole
from tidemill.errors import ArtifactError

FORMAT = "tidemill net checkpoint 1"
_LOG = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Progressed:
    """After `epochs` whole epochs and `steps` steps of the next: the optimizers' state.

    `seen` are the scores that a watch was told of after each epoch.
    """

    epochs: int = 0
    steps: int = 0
    state: Arrays = field(default_factory=dict)
    seen: tuple[Scores, ...] = ()


class Checkpoints:
    """One training's checkpoint in a folder; None there is no folder and nothing is kept.

    The file's name is a digest of everything the training depends on, so one of other rows or
    settings is never gone on with. It is replaced whole, and stays until its folder is removed.
    """

    def __init__(
        self, folder: Path | None, told: Mapping[str, str], arrays: Arrays, writes: bool = True
    ) -> None:
        self._file = None if folder is None else folder / f"net-{_digest(told, arrays)}.safetensors"
        self.writes = writes and folder is not None
        """Whether it is for this process to write."""

    def read(self) -> Progressed:
        """Where to begin: at the start, unless a training was interrupted."""
        if self._file is None or not self._file.exists():
            return Progressed()
        try:
            arrays, words = read_tensors(self._file.read_bytes())
            if words.get("format") != FORMAT:
                raise ArtifactError(f"found format {words.get('format')!r}; allowed: {FORMAT!r}")
            epochs, steps, seen = (int(words[name]) for name in ("epochs", "steps", "seen"))
            scores = tuple(np.array(arrays[f"seen {number}"]) for number in range(seen))
            return Progressed(epochs, steps, arrays, scores)
        except (ArtifactError, KeyError, ValueError) as error:
            _LOG.warning("checkpoint %s: %s; training begins anew", self._file, error)
            return Progressed()

    def write(self, progressed: Progressed) -> None:
        """Replace the file. Raises OSError, leaving the old one, when the disk is full."""
        if self._file is None or not self.writes:
            return
        seen = {f"seen {number}": scores for number, scores in enumerate(progressed.seen)}
        words = {
            "format": FORMAT,
            "epochs": str(progressed.epochs),
            "steps": str(progressed.steps),
            "seen": str(len(seen)),
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._file, write_tensors({**progressed.state, **seen}, words))


def _digest(told: Mapping[str, str], arrays: Arrays) -> str:
    digest = hashlib.sha256(repr(sorted(told.items())).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:24]
