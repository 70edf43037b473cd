"""What a net's training can be told to do otherwise, and how it fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from net_rows import SCHEMA, SETTINGS, Watched, rows_of

torch = pytest.importorskip("torch")

from batch.trainers.families import new_trainer  # noqa: E402  after torch is known to be there
from batch.trainers.net import fitting  # noqa: E402
from batch.trainers.net import trainer as net_trainer  # noqa: E402
from batch.trainers.net.device import COMPILERS, device_of, why_not_compiled  # noqa: E402
from batch.trainers.net.inputs import Inputs  # noqa: E402
from batch.trainers.net.model import TorchNet, losses_of  # noqa: E402
from batch.trainers.net.preparing import prepared, targets_of  # noqa: E402
from batch.trainers.net.trainer import NetTrainer  # noqa: E402
from learners.net.frozen_net import FrozenNet  # noqa: E402
from learners.quality import log_loss  # noqa: E402
from learners.release import NET_FILE  # noqa: E402
from tidemill.errors import SettingsError, TrainingFailed  # noqa: E402
from tidemill.tasks import BINARY, REGRESSION, Task  # noqa: E402

CLASSES = Task("multiclass", 3)


def predicted(**changed: Any) -> np.ndarray:
    """What a net says of other rows, trained with other settings."""
    settings = replace(SETTINGS, **changed)
    model = NetTrainer(settings, SCHEMA, BINARY).train(rows_of(1, 3000))
    return FrozenNet.parse(model.data).predict_many(rows_of(2, 3000).vectors)


def test_is_a_trainer() -> None:
    """It is made of settings, and its file says what it is."""
    trainer = new_trainer(SETTINGS, SCHEMA, BINARY)
    assert (3, SETTINGS) == (trainer.steps, trainer.settings)
    assert NET_FILE == trainer.train(rows_of(1)).name


def test_a_watch_sees_what_the_release_predicts() -> None:
    """After each epoch; its True is the end, and the model is that of then."""
    watch = Watched(rows_of(2, 100).vectors, last=2)
    model = NetTrainer(SETTINGS, SCHEMA, BINARY).train(rows_of(1), watch=watch)
    assert [1, 2] == [epoch for epoch, _ in watch.told]
    expected = FrozenNet.parse(model.data).predict_many(watch.vectors)
    np.testing.assert_array_equal(watch.told[-1][1], expected)


def test_bfloat16_learns_the_same() -> None:
    """Less exactly, and the release has float32 all the same."""
    labels = rows_of(2, 3000).labels
    losses = [log_loss(labels, predicted(bfloat16=low)) for low in (False, True)]
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert not np.array_equal(predicted(bfloat16=True), predicted())


@pytest.mark.parametrize("hidden", [(5,), (12, 8), (12, 8, 6), (12, 8, 6, 5)])
def test_checkpointing_gives_the_same_slopes(hidden: tuple[int, ...]) -> None:
    """Results made again are what they were; fewer are kept."""
    rows = rows_of(1, 200)
    network = prepared(replace(SETTINGS, hidden=hidden), SCHEMA, BINARY, rows.vectors)
    network.dense[:] = np.random.default_rng(1).normal(size=len(network.dense))
    targets = targets_of(network, rows.labels, rows.weights)
    inputs = Inputs(network, rows.vectors, targets, rows.weights)
    batch, found = inputs.all(), []
    for checkpointed in (False, True):
        net = TorchNet(network, inputs.kept, sparse=False, checkpointed=checkpointed)
        losses_of(BINARY, net(batch.numbers, batch.ids), batch.targets).sum().backward()
        found.append({name: p.grad for name, p in net.named_parameters()})
    assert all(torch.equal(slope, found[1][name]) for name, slope in found[0].items())


def test_sparse_slopes_of_a_large_table_learn_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that uses few of many ids moves those alone, as the dense slopes do."""
    rows = rows_of(1, 2000)
    rows.vectors[:, 2] = np.arange(2000) % 1000
    tables = []
    for share in (fitting._DENSE_SHARE, 10**6):
        monkeypatch.setattr(fitting, "_DENSE_SHARE", share)
        made = NetTrainer(replace(SETTINGS, batch_rows=20), SCHEMA, BINARY).train(rows)
        tables.append(FrozenNet.parse(made.data).network.table)
    assert 1001 == tables[0].used
    np.testing.assert_allclose(tables[0].rows, tables[1].rows, atol=1e-4)


def test_lars_learns_in_large_batches() -> None:
    """It is better than the base rate."""
    labels = rows_of(2, 3000).labels
    found = log_loss(
        labels,
        predicted(optimizer="lars", learning_rate=0.05, batch_rows=500, epochs=20),
    )
    assert found is not None
    assert found < 0.9 * log_loss(labels, np.full(3000, labels.mean()))


def test_only_numbers_or_only_ids_will_do() -> None:
    """A schema without the one or the other trains."""
    for categorical in ((), SCHEMA.names):
        schema = replace(SCHEMA, categorical=categorical)
        model = NetTrainer(SETTINGS, schema, BINARY).train(rows_of(1))
        assert np.isfinite(FrozenNet.parse(model.data).predict_many(rows_of(2).vectors)).all()


@pytest.mark.parametrize("task", [BINARY, REGRESSION, CLASSES], ids=lambda task: task.kind)
@pytest.mark.parametrize("optimizer", ["adagrad", "lars"])
def test_hardly_any_rows_will_do(task: Task, optimizer: str) -> None:
    """No row, one, or some that weigh nothing: a model of what little is known."""
    settings = replace(SETTINGS, optimizer=optimizer)
    nothing = replace(rows_of(1, 20), weights=np.zeros(20))
    for rows in (rows_of(1, 0), rows_of(1, 1), nothing):
        model = NetTrainer(settings, SCHEMA, task).train(rows)
        assert np.isfinite(FrozenNet.parse(model.data).predict_many(rows_of(2, 9).vectors)).all()


def test_a_loss_that_is_no_number_is_named() -> None:
    """With its epoch, its step and the rate."""
    rows = replace(rows_of(1), weights=np.full(1000, 1e38))
    settings = replace(SETTINGS, learning_rate=100.0)
    with pytest.raises(
        TrainingFailed, match=r"epoch 1, step \d+: found a loss of .* learning_rate 100\.0"
    ):
        NetTrainer(settings, SCHEMA, BINARY).train(rows)


def test_a_device_out_of_memory_says_what_to_lower() -> None:
    """With the step it was at."""

    def full(epoch: int, done: int) -> None:
        if done == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer = NetTrainer(SETTINGS, SCHEMA, BINARY, stepped=full)
    with pytest.raises(TrainingFailed, match=r"epoch 1, step 3: out of memory .*batch_rows"):
        trainer.train(rows_of(1))


def test_a_gpu_that_is_not_there_is_refused() -> None:
    """`auto` takes the CPU instead."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert "cpu" == device_of("auto").type
    with pytest.raises(SettingsError, match="found 'cuda' without a GPU"):
        device_of("cuda")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is done."""
    monkeypatch.setattr(net_trainer, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install tidemill\[torch\]"):
        NetTrainer(SETTINGS, SCHEMA, BINARY)


def test_without_a_compiler_the_reason_is_given() -> None:
    """With one there is none."""
    lacking = why_not_compiled(torch.device("cpu"), lambda name: None)
    assert lacking is not None
    assert all(name in lacking for name in COMPILERS)
    assert why_not_compiled(torch.device("cpu"), lambda name: f"/usr/bin/{name}") is None


@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_a_compiled_net_learns_the_same() -> None:
    """Its kernels add up in another order."""
    lacking = why_not_compiled(torch.device("cpu"))
    if lacking:
        pytest.skip(lacking)
    small = {"hidden": (4,), "batch_rows": 500}  # batches of one size: one compilation
    np.testing.assert_allclose(predicted(compiled=True, **small), predicted(**small), atol=1e-3)
