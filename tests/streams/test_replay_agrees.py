"""What batch replays from the archive is what the worker's learner was, whatever became of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from stream_world import NOW, Reader, World, make_prediction, make_project, model_text

from batch.replay.replay import Sources, replay
from features.plan import compile_plan
from learners.snapshot import Snapshot
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from streams.learn import LOOK_MS, ORDER_LOOK_MS, Learn
from streams.quarantine import Order
from tidemill import Breaker, Gate
from tidemill.topics import PREDICTIONS
from tidemill.wire import Prediction

POISON = range(601, 801)  # sequences whose labels a producer turns round
PLAN = compile_plan(
    replace(make_project(), breaker=Breaker(window=200), gate=Gate(min_rows=100_000))
)
SEEDS = {"r0001": 1, "r0002": 2}


class Service:
    """A worker whose every snapshot answers a request, as an api would adopt it."""

    def __init__(self, home: Path, cut: int) -> None:
        self.world, self.cut = World(home), cut
        self.world.context = replace(self.world.context, plan=PLAN)
        self.answers: list[Prediction] = []
        self.world.publish()
        self._fed = 0

    def feed(self, until: int) -> None:
        """Examples of scores that fit, but for those of the producer that lies."""
        draws = np.random.default_rng(5).random((until + 1, 2))
        for sequence in range(self._fed + 1, until + 1):
            score, chance = (0.05 + 0.9 * draws[sequence]).tolist()
            label, bad = float(chance < score), sequence in POISON and sequence % 2 == 0
            made = make_prediction(f"k{sequence}", NOW + sequence, sequence)
            self.world.example(
                sequence,
                prediction=msgspec.structs.replace(made, score=score),
                label=1 - label if bad and abs(score - 0.5) > 0.1 else label,
                producer="liar" if sequence % 2 == 0 else "honest",
            )
        self._fed = until

    async def started(self) -> Reader:
        """A worker that has just begun."""
        return await self.world.reader(self.world.learn).start()

    async def learn(self, reader: Reader, cuts: int = 1_000) -> None:
        """Read so many cuts, or until nothing is left; each snapshot answers."""
        for _ in range(cuts):
            read = await reader.try_read(self.cut)
            self.answer()
            if not read:
                return

    async def order(self, step: Learn, action: str) -> None:
        """Say what `tidemill learn resume` says."""
        assert step.halt is not None
        data = Order(action, step.halt.began_ms).encode()
        await self.world.store.write([(self.world.names.learn_order("head"), data)])
        self.world.clock.advance(ORDER_LOOK_MS)

    def stored(self) -> Snapshot:
        """The snapshot in the store."""
        return Snapshot.decode(self.world.store.blobs[self.world.names.snapshot("head")])

    def answer(self) -> None:
        """Let the newest snapshot answer, once."""
        found = self.stored()
        made = make_prediction(f"{found.release}-{found.number}", NOW, found.number)
        if any(each.id == made.id for each in self.answers):
            return
        trees = FrozenTrees.parse(model_text(SEEDS[found.release]))
        head = TreeHead.restore(trees, PLAN.project.learner, found.state)
        scores, baselines = head.predict_both(np.frombuffer(made.vector, "<f4")[None].copy())
        self.answers.append(
            msgspec.structs.replace(
                made, score=float(scores[0]), baseline=float(baselines[0]), release=found.release,
                snapshot=found.number, offset=found.offset,
            )
        )  # fmt: skip

    async def replayed(self) -> tuple[list[str], Iterable[str]]:
        """The answers that are replayed as they were, and all."""
        for each in self.answers:
            self.world.bus.append(PREDICTIONS, each.encode(), each.key.encode(), 0)
        reader = await self.world.reader(self.world.archive).start()
        await reader.read_all()
        await reader.step.close()
        sources = Sources(self.world.registry, PLAN, skipped=tuple(self.stored().skipped))
        found = replay(sources, [each.id for each in self.answers])
        right = [e.id for e in found.predictions if e.score and e.score.equal and e.baseline]
        return right, [each.id for each in self.answers]


@pytest.mark.parametrize("cut", [17, 60, 230])
@pytest.mark.parametrize("action", ["skip", "replay"])
async def test_a_learner_that_was_stopped_is_replayed(
    tmp_path: Path, cut: int, action: str
) -> None:
    """Before the poison, in it, after the order; and the release that takes over later."""
    service = Service(tmp_path, cut)
    service.feed(900)
    reader = await service.started()
    await service.learn(reader)
    step = reader.step
    assert isinstance(step, Learn) and step.halt is not None
    poisoned = [each.offset for each in service.answers if each.offset > step.halt.start]
    assert poisoned or cut == 230
    await service.order(step, action)
    await service.learn(reader)
    service.feed(1_300)
    await service.learn(reader)
    service.world.publish({"examples:0": 300, "sequence:0": 300}, seed=2)
    service.world.clock.advance(LOOK_MS)
    service.feed(1_500)
    await service.learn(await service.started() if cut == 60 else reader)
    assert {"r0001", "r0002"} == {each.release for each in service.answers}
    assert (action == "skip") == bool(service.stored().skipped)
    right, expected = await service.replayed()
    assert expected == right


async def test_an_order_before_all_was_put_aside_is_replayed(tmp_path: Path) -> None:
    """Then a learner that had been past the range's end had left nothing out."""
    service = Service(tmp_path, 17)
    service.feed(900)
    reader = await service.started()
    while not (isinstance(reader.step, Learn) and reader.step.halt):
        await service.learn(reader, 1)
    await service.learn(reader, 2)
    await service.order(reader.step, "skip")
    await service.learn(reader)
    ((start, end),) = service.stored().skipped[:1]
    assert start < end
    assert any(start < end < each.offset < start + 200 for each in service.answers)
    right, expected = await service.replayed()
    assert expected == right
