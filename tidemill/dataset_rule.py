"""Which archived examples a model is trained on, how many of each, and what they weigh."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tidemill.checks import check_kind, check_number, check_one_of, check_range, check_whole
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError
from tidemill.expression_text import expression_text, parse_expression
from tidemill.expressions import Expression
from tidemill.fields import Field, samples
from tidemill.sources import Request

LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_PARENT = re.compile(r"d[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Match:
    """For each value of `by`, so many negatives for each positive, those with the lowest hash.

    `by` are request fields or features; a value without a positive goes. What is left of the
    negatives weighs as much as all of them did, so that a model still says probabilities (King,
    Zeng: Logistic Regression in Rare Events Data, 2001, 4.1). A missing value is a value.
    """

    by: tuple[str, ...]
    negatives: float = 1.0

    def __post_init__(self) -> None:
        _check_names("Match.by", self.by)
        check_range("Match.negatives", self.negatives, 0.001, 1_000_000)


@dataclass(frozen=True, slots=True)
class Share:
    """Of the examples with this label so many, below 1 a part of them, above 1 copies.

    Each weighs so much less or more that together they weigh what they did.
    """

    label: float
    share: float

    def __post_init__(self) -> None:
        check_range("Share.label", self.label, -1e300, 1e300)
        check_range("Share.share", self.share, 0.0001, 1000)


@dataclass(frozen=True, slots=True)
class DatasetRule:
    """What a retrain trains on: by default every labelled prediction of the archive, once.

    In this order: requests with `from_ms` <= time < `to_ms`, or the newest `last` of them; with
    `matured` only those whose label can no longer come or change; those for which `where` is true
    (it reads features, request fields, `label`, `score` and `time`; a text is parsed); then, before
    the gate's holdout, `match`, `shares` and the factor `bad_cases` on the weight of examples that
    meet a rule of Project.bad_cases. The holdout stays as it happened: there a model is judged.

    `gap` is kept between what is trained on and the holdout, beside the labels that came after it
    began. What is drawn depends on the prediction's id and `seed`, never on the order of rows. With
    `parent`, a dataset's id, its rows are taken instead of the archive's.
    """

    from_ms: int | None = None
    to_ms: int | None = None
    last: str | None = None
    where: Expression | str | None = None
    match: Match | None = None
    shares: tuple[Share, ...] = ()
    bad_cases: float = 1.0
    gap: str | None = None
    matured: bool = False
    parent: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("from_ms", "to_ms"):
            if getattr(self, name) is not None:
                check_whole(f"DatasetRule.{name}", getattr(self, name), -LATEST_MS, LATEST_MS)
        if self.from_ms is not None and self.to_ms is not None and self.from_ms >= self.to_ms:
            raise DeclarationError("DatasetRule.from_ms", self.from_ms, f"less than {self.to_ms}")
        for name in ("last", "gap"):
            if getattr(self, name) is not None:
                duration_ms(f"DatasetRule.{name}", getattr(self, name))
        if self.last is not None and self.from_ms is not None:
            raise DeclarationError("DatasetRule.last", self.last, "this or from_ms, not both")
        if isinstance(self.where, str):
            parsed = parse_expression(self.where, "DatasetRule.where")
            object.__setattr__(self, "where", parsed)
        self._check_kinds()
        check_range("DatasetRule.bad_cases", self.bad_cases, 0.001, 1000)
        check_whole("DatasetRule.seed", self.seed, 0, 2**31 - 1)
        if self.parent is not None and not _PARENT.fullmatch(self.parent):
            raise DeclarationError(
                "DatasetRule.parent", self.parent, "a dataset's id: d, 12 digits"
            )

    def _check_kinds(self) -> None:
        kinds: tuple[tuple[str, Any, str], ...] = (
            ("where", Expression, "an expression, its text, or None"),
            ("match", Match, "a Match, or None"),
        )
        for name, kind, allowed in kinds:
            if getattr(self, name) is not None:
                check_kind(f"DatasetRule.{name}", (getattr(self, name),), kind, allowed)
        if not isinstance(self.shares, tuple):
            raise DeclarationError("DatasetRule.shares", self.shares, "a tuple of Share")
        check_kind("DatasetRule.shares", self.shares, Share, "a tuple of Share")
        labels = [each.label for each in self.shares]
        if len(set(labels)) < len(labels):
            raise DeclarationError("DatasetRule.shares", labels, "each label once")
        check_kind("DatasetRule.matured", (self.matured,), bool, "True or False")

    @property
    def ends_early(self) -> bool:
        """True when it may leave out the newest rows."""
        return self.to_ms is not None or self.matured

    @property
    def samples(self) -> bool:
        """True when it chooses among the rows, or weighs them, by their class."""
        return self.match is not None or bool(self.shares)

    @property
    def gap_ms(self) -> int:
        """The gap in milliseconds of stream time, 0 without one."""
        return duration_ms("DatasetRule.gap", self.gap) if self.gap else 0

    @property
    def names(self) -> frozenset[str]:
        """The columns that it reads to choose rows."""
        where = self.where.names() if isinstance(self.where, Expression) else frozenset()
        return where | frozenset(self.match.by if self.match else ())

    def as_data(self) -> dict[str, Any]:
        """The rule as JSON has it, without what it leaves as it is."""
        found = asdict(self) | {"shares": [asdict(each) for each in self.shares]}
        if isinstance(self.where, Expression):
            found["where"] = expression_text(self.where)
        if self.match is not None:
            found["match"] = asdict(self.match) | {"by": list(self.match.by)}
        plain = DatasetRule()
        return {
            name: value
            for name, value in found.items()
            if value != (list(plain.shares) if name == "shares" else getattr(plain, name))
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> DatasetRule:
        """The rule that `as_data` gave; raises DeclarationError for any other data."""
        found = dict(data)
        try:
            if "match" in found:
                match = found["match"]
                found["match"] = Match(tuple(match["by"]), match["negatives"])
            if "shares" in found:
                found["shares"] = tuple(Share(**each) for each in found["shares"])
            return cls(**found)
        except (TypeError, KeyError):
            raise DeclarationError("DatasetRule", data, "what a manifest keeps of a rule") from None


def _check_names(where: str, names: object) -> None:
    if not isinstance(names, tuple) or not names or not all(isinstance(n, str) for n in names):
        raise DeclarationError(where, names, "a tuple of one or more names")


def check_fits(
    rule: DatasetRule, request: Request, features: Sequence[str], binary: bool, judged: bool
) -> None:
    """Refuse a rule that a project with these features, labels and bad-case rules cannot follow."""
    fields = {field.name: field for field in request.columns}
    fields |= {name: Field(name, float, True) for name in (*features, "label", "score")}
    if isinstance(rule.where, Expression):
        for name in sorted(rule.where.names()):
            check_one_of("DatasetRule.where", name, [*fields, "time"])
        used = [fields[name] for name in sorted(rule.where.names() & fields.keys())]
        check_number("DatasetRule.where", rule.where, samples(used))
    for name in rule.match.by if rule.match else ():
        check_one_of("Match.by", name, [n for n in fields if n not in ("label", "score")])
    if rule.samples and not binary:
        found = "match" if rule.match else "shares"
        raise DeclarationError("DatasetRule", found, "neither match nor shares for numeric labels")
    for each in rule.shares:
        if each.label not in (0, 1):
            raise DeclarationError("Share.label", each.label, "0 or 1")
    if rule.bad_cases != 1 and not judged:
        allowed = "1 without Project.bad_cases"
        raise DeclarationError("DatasetRule.bad_cases", rule.bad_cases, allowed)
