"""The closed list of topics and of keys in the store, each with its meaning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

EVENTS = "events"  # facts from producers (JSON), keyed by the event's key
UPDATES = "updates"  # events re-keyed per entity, columnar (msgpack UpdateBatch)
PREDICTIONS = "predictions"  # scored requests with their vectors (msgpack), keyed by join key
LABELS = "labels"  # outcomes (JSON), keyed by join key
EXAMPLES = "examples"  # prediction + label (msgpack); one partition: learning has one order
BADCASES = "badcases"  # examples the model got wrong, with a reason (msgpack)
MODELS = "models"  # announcements of releases and snapshots (msgpack)
ALERTS = "alerts"  # what an operator should know
DEADLETTERS = "deadletters"  # input that could not be used, with bytes, place and cause (msgpack)
QUARANTINE = "quarantine"  # examples that came while learning was paused (msgpack Quarantined)
ALL = (
    EVENTS, UPDATES, PREDICTIONS, LABELS, EXAMPLES, BADCASES, MODELS, ALERTS, DEADLETTERS,
    QUARANTINE,
)  # fmt: skip
SINGLE_PARTITION = (EXAMPLES, MODELS, ALERTS, DEADLETTERS, BADCASES, QUARANTINE)
FEATURE_STEPS = (EVENTS, UPDATES)  # steps whose effects are the entities' state
DEFINITIONS = "definitions"  # the fence and hash that hold which declarations have a state
# Steps whose effects belong to one schema; `worker` are the agents of low-rate topics.
SCHEMA_STEPS = ("learn", "challengers", "worker")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one project's topics and store keys.

    `state` says what the entities' blobs mean (`FeaturePlan.state`), `schema` what a vector means:
    what depends on one of them carries it, so that two declarations can be served side by side.
    Everything else, the log above all, is shared by them.
    """

    project: str
    partitions: int
    state: str = ""
    schema: str = ""

    @property
    def label_source(self) -> int:
        """The source of updates that are joined labels: the one after the partitions of events."""
        return self.partitions

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
        return crc32(key.encode()) % self.partitions

    def blob(self, partition: int, entity: str, key: str) -> str:
        """The packed windows of one entity; all of a partition's share a hash tag."""
        state = f"{self.state}:" if self.state else ""
        return f"{{{self.project}:{partition}}}:{state}{entity}:{key}"

    def blobs(self, entity: str, keys: Iterable[str]) -> list[str]:
        """The packed windows of several entities of one type, each in the partition it belongs to.

        Names are made for every entity of every read, so each is only a prefix and its key.
        """
        return _prefixed(_blob_prefixes(self, entity), keys)

    def static_row(self, row: str, version: int, key: str) -> str:
        """One entity's static row of one version of the table; `key` is the entity's whole key."""
        return self.static_rows(row, version, (key,))[0]

    def static_rows(self, row: str, version: int, keys: Iterable[str]) -> list[str]:
        """The static rows of several entities of one version of the table."""
        return _prefixed(_static_prefixes(self, row, version), keys)

    def static_version(self, row: str, key: str) -> int | None:
        """The version in the store key of one of the row's table, None for any other key."""
        tag, found, rest = key.partition(f"}}:static:{row}:")
        version = rest.partition(":")[0]
        # The hash tag in full: the key of an entity may itself contain such words.
        partition = tag.removeprefix(f"{{{self.project}:")
        if not found or partition == tag or not (partition + version).isdecimal():
            return None
        return int(version) if version else None

    def static_live(self, row: str, layout: int) -> str:
        """The version of the static rows that is served to a declaration of this layout (text)."""
        return f"{{{self.project}:0}}:static:{row}:live:{layout:08x}"

    def fence(self, step: str, partition: int) -> str:
        """The fence of one step's partition: owner epoch, offsets, counters (a hash)."""
        return f"{{{self.project}:{partition}}}:{_joined('fence', step, self.scope(step))}"

    def side(self, step: str, partition: int) -> str:
        """A step's own hash behind the same fence: pending predictions and outbox of the join."""
        return f"{{{self.project}:{partition}}}:{_joined('side', step, self.scope(step))}"

    def scope(self, step: str) -> str:
        """What a step belongs to beside its project: a state, a schema, or nothing."""
        if step in FEATURE_STEPS:
            return self.state
        return self.schema if step in SCHEMA_STEPS else ""

    def group(self, step: str) -> str:
        """The consumer group of a step: the workers of one group share its partitions."""
        return "-".join(filter(None, (self.project, step, self.scope(step))))

    def newest_snapshot(self, learner: str) -> str:
        """Which snapshot of a learner for this schema is the newest."""
        return f"{{{self.project}:0}}:{_joined('newest', learner, self.schema)}"

    def snapshot(self, learner: str, change: int = 0) -> str:
        """The newest whole snapshot of a learner for this schema, or a change since, from 1 on."""
        number = str(change) if change else ""
        return f"{{{self.project}:0}}:{_joined('snapshot', learner, self.schema, number)}"

    def checkpoint(self, learner: str) -> str:
        """The last snapshot whose examples passed the breaker: where a trip goes back to."""
        return f"{{{self.project}:0}}:{_joined('checkpoint', learner, self.schema)}"

    def learn_order(self, learner: str) -> str:
        """What an operator wants of paused learning (JSON); empty when it was carried out."""
        return f"{{{self.project}:0}}:{_joined('order', learner, self.schema)}"

    def status(self) -> str:
        """The newest progress points of this schema's worker for the console (a list of JSON)."""
        return f"{{{self.project}:0}}:{_joined('status', self.schema)}"

    def bad_cases(self) -> str:
        """The newest bad cases of this schema for the console (a list of JSON)."""
        return f"{{{self.project}:0}}:{_joined('badcases', self.schema)}"

    def skew(self) -> str:
        """What the skew meter found when it last looked at this schema's vectors (JSON)."""
        return f"{{{self.project}:0}}:{_joined('skew', self.schema)}"

    def idempotency(self, key: str) -> str:
        """What was answered to a request with this idempotency key; it is forgotten by itself."""
        return f"{{{self.project}:{self.entity_partition(key)}}}:idempotency:{key}"

    def trial(self) -> str:
        """How the challengers of this schema do beside its champion (JSON, `TrialReport`)."""
        return f"{{{self.project}:0}}:{_joined('trial', self.schema)}"

    def jobs(self) -> str:
        """The scheduler's jobs of this project, waiting, running and ended (JSON)."""
        return f"{{{self.project}:0}}:jobs"

    def limit(self, caller: str) -> str:
        """How much of its quota a caller of the api has used in this window (text); it expires."""
        return f"{{{self.project}:0}}:limit:{caller}"


@lru_cache(maxsize=256)
def _blob_prefixes(names: Names, entity: str) -> tuple[str, ...]:
    return tuple(names.blob(partition, entity, "") for partition in range(names.partitions))


@lru_cache(maxsize=256)
def _static_prefixes(names: Names, row: str, version: int) -> tuple[str, ...]:
    tags = (f"{{{names.project}:{partition}}}" for partition in range(names.partitions))
    return tuple(f"{tag}:static:{row}:{version}:" for tag in tags)


def _prefixed(prefixes: Sequence[str], keys: Iterable[str]) -> list[str]:
    partitions = len(prefixes)
    return [prefixes[crc32(key.encode()) % partitions] + key for key in keys]


def _joined(*parts: str) -> str:
    return ":".join(filter(None, parts))
