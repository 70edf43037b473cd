"""A net release from a declaration's settings, trained with torch (the extra `torch`).

    model = NetTrainer(tm.NetModel(), schema, BINARY).train(rows)

One look at the data gives the numbers' means and spreads and the ids seen often enough; then some
epochs of AdaGrad over shuffled rows. What a release has of the optimizer's sums primes the online
learner that starts from it. The same data gives the same bytes on the same machine with as many
threads, also when the training was killed in between and went on from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from batch.progress import Progress, Silent
from batch.trainers.net.checkpoint import Arrays, Checkpoints, Progressed
from batch.trainers.net.preparing import prepared, targets_of
from batch.trainers.trainer import TrainingRows, Watch
from learners.learner import checked_labels, checked_weights
from learners.net.frozen_net import net_bytes
from learners.net.loss import predictions_of
from learners.net.network import Network
from learners.release import NET_FILE, ModelFile
from tidemill.errors import SettingsError, TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import Task
from tidemill.trainer_kinds import NetModel

if TYPE_CHECKING:
    from batch.trainers.net.fitting import Fitting, Group

Stepped = Callable[[int, int], None]
"""Told the epoch (from 0) and how many of its steps are done; may raise to give the training up."""


class NetTrainer:
    """Trains on vectors of one schema in `settings.epochs` passes.

    With `checkpoints`, a folder, a training that was interrupted goes on where it was; the folder
    is the caller's to remove. `threads` 0 is one: a step of such a net is too short to be shared,
    and threads that wait for each other spin, which beside any other work is many times slower.
    """

    encoded_bytes = 2 << 30
    """Rows that take more memory than this when encoded are encoded batch by batch instead."""

    ahead = 4
    """So many batches in front of the training a thread does that; 0: no thread."""

    steps_between_checkpoints = 2_000
    """Within an epoch; there is one after each epoch as well."""

    def __init__(  # noqa: PLR0913  what a trainer is made of, each with a default where one fits
        self,
        settings: NetModel,
        schema: FeatureSchema,
        task: Task,
        *,
        progress: Progress | None = None,
        threads: int = 1,
        checkpoints: Path | None = None,
        group: Group | None = None,
        stepped: Stepped = lambda epoch, done: None,
    ) -> None:
        if find_spec("torch") is None:
            raise SettingsError("tm.NetModel: found no torch; allowed: pip install tidemill[torch]")
        self.settings, self.schema, self.task = settings, schema, task
        self._progress, self._stepped = progress or Silent(), stepped
        self._threads, self._folder, self._group = threads or 1, checkpoints, group

    @property
    def steps(self) -> int:
        """Epochs."""
        return self.settings.epochs

    def train(
        self, rows: TrainingRows, stage: str = "train", watch: Watch | None = None
    ) -> ModelFile:
        """See `Trainer`; a step is an epoch. With a watch one process trains, whatever is asked."""
        labels = checked_labels(self.task, rows.labels, len(rows))
        rows = TrainingRows(rows.vectors, labels, checked_weights(rows.weights, len(rows)))
        self._progress.start(stage, self.steps)
        if self.settings.processes > 1 and self._group is None and watch is None:
            from batch.trainers.net.job import Job, train_together

            job = Job(self.settings, self.schema, self.task, self._threads, self._folder)
            return ModelFile(NET_FILE, train_together(job, rows, self._progress))
        network = prepared(self.settings, self.schema, self.task, rows.vectors)
        self._fit(network, rows, watch)
        return ModelFile(NET_FILE, net_bytes(network))

    def _fit(self, network: Network, rows: TrainingRows, watch: Watch | None) -> None:
        import torch

        from batch.trainers.net.device import device_of, running
        from batch.trainers.net.fitting import Fitting, Group
        from batch.trainers.net.inputs import Inputs
        from batch.trainers.net.loader import new_loader

        settings, group = self.settings, self._group or Group()
        device = device_of(settings.device, group.rank)
        fitting: Fitting | None = None
        try:
            with running(self._threads):
                targets = targets_of(network, rows.labels, rows.weights)
                inputs = Inputs(network, rows.vectors, targets, rows.weights)
                loader = new_loader(inputs, device, self.encoded_bytes, self.ahead)
                fitting = Fitting(network, inputs, loader, settings, device, group)
                told = f"{device.type} {self._threads} {group.size} {torch.__version__}"
                self._epochs(fitting, network, self._kept(rows, watch, told), watch)
        except torch.OutOfMemoryError as error:
            place = "before its first step" if fitting is None else _at(*fitting.place)
            raise TrainingFailed(
                f"net: {place}: out of memory on {device} ({error}); lower NetModel.batch_rows "
                f"(found {settings.batch_rows}) or hidden {settings.hidden}, or set "
                "checkpointed=True or device='cpu'"
            ) from error

    def _epochs(
        self, fitting: Fitting, network: Network, kept: Checkpoints, watch: Watch | None
    ) -> None:
        found = kept.read()
        if found.state:
            fitting.optimizers.restore(found.state)
        seen, ended = list(found.seen), False
        for epoch, scores in enumerate(seen):  # told once more: it has forgotten, as all else has
            ended = watch is not None and watch.seen(epoch + 1, scores)
        self._progress.advance(found.epochs)
        first = found.steps
        for epoch in range(found.epochs, 0 if ended else self.steps):
            for done in fitting.epoch(epoch, first):
                due = done < fitting.steps and not done % self.steps_between_checkpoints
                if due and kept.writes:
                    kept.write(Progressed(epoch, done, fitting.optimizers.state(), tuple(seen)))
                self._stepped(epoch, done)
            first = 0
            fitting.write_to(network)
            if watch is not None:
                raw = network.raw_many(network.checked(watch.vectors))
                seen.append(predictions_of(self.task, network.scores(raw)))
            if kept.writes:
                kept.write(Progressed(epoch + 1, 0, fitting.optimizers.state(), tuple(seen)))
            self._progress.advance()
            if watch is not None and watch.seen(epoch + 1, seen[-1]):
                return
        fitting.write_to(network)

    def _kept(self, rows: TrainingRows, watch: Watch | None, told: str) -> Checkpoints:
        if self._folder is None:
            return Checkpoints(None, {}, {})
        first = self._group is None or self._group.rank == 0
        words = {
            "settings": repr(self.settings),
            "schema": repr(self.schema),
            "task": repr(self.task),
            "on": told,
        }
        arrays: Arrays = {"vectors": rows.vectors, "labels": rows.labels, "weights": rows.weights}
        watched: Arrays = {} if watch is None else {"watched": watch.vectors}
        return Checkpoints(self._folder, words, {**arrays, **watched}, writes=first)


def _at(epoch: int, step: int) -> str:
    return f"epoch {epoch}, step {step}"
