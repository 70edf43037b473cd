"""The closed list of topics and of keys in the store, each with its meaning."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

EVENTS = "events"  # facts from producers (JSON), keyed by the event's key
UPDATES = "updates"  # events re-keyed per entity, columnar (msgpack UpdateBatch)
PREDICTIONS = "predictions"  # scored requests with their vectors (msgpack), keyed by join key
LABELS = "labels"  # outcomes (JSON), keyed by join key
EXAMPLES = "examples"  # prediction + label (msgpack); one partition: learning has one order
BADCASES = "badcases"  # examples the model got wrong, with a reason (msgpack)
MODELS = "models"  # announcements of releases and snapshots (msgpack)
ALERTS = "alerts"  # what an operator should know
DEADLETTERS = "deadletters"  # input that could not be used, with bytes, place and cause (msgpack)
ALL = (EVENTS, UPDATES, PREDICTIONS, LABELS, EXAMPLES, BADCASES, MODELS, ALERTS, DEADLETTERS)
SINGLE_PARTITION = (EXAMPLES, MODELS, ALERTS, DEADLETTERS, BADCASES)


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one project's topics and store keys."""

    project: str
    partitions: int

    def topic(self, kind: str) -> str:
        """The Kafka topic of one of the kinds above."""
        return f"{self.project}.{kind}"

    def kind(self, topic: str) -> str:
        """The kind of a topic of this project."""
        return topic.removeprefix(f"{self.project}.")

    def partitions_of(self, kind: str) -> int:
        """How many partitions a topic of this kind has."""
        return 1 if kind in SINGLE_PARTITION else self.partitions

    def entity_partition(self, key: str) -> int:
        """The updates partition that owns an entity; `key` is the entity's whole key."""
        return zlib.crc32(key.encode()) % self.partitions

    def blob(self, partition: int, entity: str, key: str) -> str:
        """The packed windows of one entity; all of a partition's share a hash tag."""
        return f"{{{self.project}:{partition}}}:{entity}:{key}"

    def fence(self, step: str, partition: int) -> str:
        """The fence of one step's partition: owner epoch, offsets, counters (a hash)."""
        return f"{{{self.project}:{partition}}}:fence:{step}"

    def side(self, step: str, partition: int) -> str:
        """A step's own hash behind the same fence: pending predictions and outbox of the join."""
        return f"{{{self.project}:{partition}}}:side:{step}"

    def snapshot(self, learner: str) -> str:
        """The newest snapshot of a learner."""
        return f"{{{self.project}:0}}:snapshot:{learner}"

    def status(self) -> str:
        """The worker's newest progress points for the console (a list of JSON)."""
        return f"{{{self.project}:0}}:status"

    def bad_cases(self) -> str:
        """The newest bad cases for the console (a list of JSON)."""
        return f"{{{self.project}:0}}:badcases"
