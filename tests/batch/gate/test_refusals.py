"""Each kind of bad candidate is refused for its reason, a good and an equal one are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from refusals import SPOILT_KIND, examples, own, serving

from batch.datasets.dataset import Dataset
from batch.gate.bad_cases import LabelledCases
from batch.gate.evidence import Evidence
from batch.gate.gate import judge
from batch.gate.report import GateReport, Reason
from batch.gate.split import older_and_newer
from tidemill import BadCase, Gate, Linear, Project, column
from tidemill.trainer_kinds import LightGBM, TrainerKind

Trained = Callable[..., object]
LEARNER = Linear(learning_rate=1e-6)  # so slow that it repairs nothing in ten days
GATE = Gate(holdout="10d", tolerance=0.02, min_rows=100)
CONFIDENT_MISS = BadCase("confident_miss", column("label") - column("score") > 0.9)


@pytest.fixture
def judged(make_project: Callable[..., Project], trained: Trained) -> Callable[..., GateReport]:
    """Judges a candidate of some trainer against a champion of the same data's first half."""

    def made(
        settings: TrainerKind,
        seed: int = 1,
        gate: Gate = GATE,
        evidence: Callable[[Dataset], Evidence] | None = None,
        **parts: object,
    ) -> GateReport:
        project = make_project(trainer=own(), learner=LEARNER, gate=gate, **parts)
        data = examples(seed)
        first = data.take(np.arange(len(data) // 2))
        data, champion = serving(project, data, trained(project, first, own()))
        model = trained(project, older_and_newer(project, data).older, settings)
        return judge(project, data, model, champion, evidence(data) if evidence else None)

    return made


def reasons(report: GateReport) -> list[Reason]:
    """Why it refuses."""
    return [refusal.reason for refusal in report.refusals]


def test_a_good_candidate_passes(judged: Callable[..., GateReport]) -> None:
    """A model like the champion's, of newer data, with every check on."""
    gate = replace(GATE, latency_us=500_000.0, size_bytes=100_000, calibration_error=0.1)
    report = judged(own(), gate=gate, bad_cases=(CONFIDENT_MISS,))
    assert ([], True) == (reasons(report), report.passed)
    assert 0 < report.findings.costs.single_p50_us <= report.findings.costs.single_p99_us
    assert 0.8 < report.findings.calibration.slope < 1.25


def test_a_worse_candidate(judged: Callable[..., GateReport]) -> None:
    """It knows less, and says so honestly: calibrated, but with a higher loss."""
    report = judged(own(blind=1))
    assert [Reason.WORSE_LOG_LOSS] == reasons(report)
    assert "above champion r0001's" in report.refusals[0].found


def test_a_miscalibrated_candidate(judged: Callable[..., GateReport]) -> None:
    """The same ranking, too sure of it: within what the loss allows, but not what it says."""
    gate = replace(GATE, tolerance=0.25)
    report = judged(own(scale=2.0), gate=gate)
    assert report.findings.candidate.auc == pytest.approx(
        report.findings.rival_quality.auc, abs=0.01
    )
    assert [Reason.WORSE_CALIBRATION] == reasons(report)
    assert 0.5 == pytest.approx(report.findings.calibration.slope, abs=0.1)
    absolute = replace(gate, calibration=None, calibration_error=0.03)
    assert [Reason.MISCALIBRATED] == reasons(judged(own(scale=2.0), gate=absolute))


def test_a_slow_candidate(judged: Callable[..., GateReport]) -> None:
    """As good as the champion, but it takes its time."""
    report = judged(own(slow=2), gate=replace(GATE, latency_us=1900.0, holdout="2d"))
    assert [Reason.TOO_SLOW] == reasons(report)
    assert "for one answer (99th percentile)" in report.refusals[0].found


def test_a_large_candidate(judged: Callable[..., GateReport]) -> None:
    """As good as the champion, but its file is over the budget."""
    report = judged(own(), gate=replace(GATE, size_bytes=50))
    assert [Reason.TOO_LARGE] == reasons(report)


def test_a_candidate_that_makes_new_bad_cases(judged: Callable[..., GateReport]) -> None:
    """Good enough on the whole, but it is sure and wrong where the champion was not."""
    gate = replace(GATE, tolerance=0.4)
    report = judged(own(sure=4.0), gate=gate, bad_cases=(CONFIDENT_MISS,))
    assert [Reason.MORE_BAD_CASES] == reasons(report)
    (counted,) = report.findings.new_bad_cases
    assert counted.caused - counted.cured == counted.candidate - counted.rival > 0
    assert "cases of confident_miss" in report.refusals[0].found
    assert [] == reasons(judged(own(sure=4.0), gate=gate))


def test_a_candidate_that_is_worse_on_known_bad_cases(judged: Callable[..., GateReport]) -> None:
    """What the champion got wrong before, the candidate gets more wrong."""
    gate = replace(GATE, tolerance=0.25, calibration=None)
    report = judged(own(scale=2.0), gate=gate, bad_cases=(CONFIDENT_MISS,))
    assert Reason.WORSE_ON_BAD_CASES in reasons(report)
    assert {"judged", "earlier"} == {each.kind for each in report.findings.on_bad_cases}


def test_what_people_labelled(judged: Callable[..., GateReport]) -> None:
    """A handful of cases that people chose is enough, when nothing else speaks against it."""

    def labelled(data: Dataset) -> Evidence:
        spoilt = np.flatnonzero((data.vectors[:, 0] == SPOILT_KIND) & (data.labels == 1))[:6]
        cases = LabelledCases(data.vectors[spoilt], data.labels[spoilt], data.scores[spoilt])
        return Evidence(labelled=cases)

    gate = replace(GATE, tolerance=0.4)
    report = judged(own(sure=4.0), gate=gate, evidence=labelled)
    assert [Reason.WORSE_ON_BAD_CASES] == reasons(report)
    assert "on the 6 labelled bad cases" in report.refusals[0].found
    assert [] == reasons(judged(own(), gate=gate, evidence=labelled))


def test_a_candidate_that_is_worse_for_a_slice(judged: Callable[..., GateReport]) -> None:
    """One value of a declared field is served worse, the whole is not; which one is said."""

    def slices(data: Dataset) -> Evidence:
        kinds = np.array([f"kind{int(kind)}" for kind in data.vectors[:, 0]], object)
        return Evidence(slices={"kind": kinds})

    gate = replace(GATE, tolerance=0.4, slice_rows=100, calibration=None)
    report = judged(own(sure=4.0), gate=gate, evidence=slices, slices=("kind",))
    assert [Reason.WORSE_SLICE] == reasons(report)
    assert f"of kind = kind{SPOILT_KIND} " in report.refusals[0].found
    assert 10 == len(report.findings.slices)


def test_no_number_is_refused(judged: Callable[..., GateReport]) -> None:
    """A model that answers NaN learns nothing and is refused."""
    assert [Reason.NOT_FINITE] == reasons(judged(own(nan=1)))


def test_too_little_to_exclude_harm(judged: Callable[..., GateReport]) -> None:
    """Few examples and a model unlike the champion's: nothing is shown, and that is not enough."""
    gate = replace(GATE, holdout="1d", harm=0.01)
    report = judged(LightGBM(leaves=7, rounds=40), gate=gate)
    assert Reason.TOO_UNCERTAIN in reasons(report)
    assert "(Gate.harm): more examples" in report.refusals[0].allowed


def test_every_reason_is_listed(judged: Callable[..., GateReport]) -> None:
    """Not only the first: what else is wrong is known at once."""
    gate = replace(GATE, size_bytes=10, calibration_error=0.01)
    report = judged(own(scale=4.0), gate=gate, bad_cases=(CONFIDENT_MISS,))
    assert {
        Reason.WORSE_LOG_LOSS, Reason.WORSE_CALIBRATION, Reason.MISCALIBRATED,
        Reason.MORE_BAD_CASES, Reason.WORSE_ON_BAD_CASES, Reason.TOO_LARGE,
    } == set(reasons(report))  # fmt: skip


def test_an_equal_candidate_passes(judged: Callable[..., GateReport]) -> None:
    """Of many worlds noise refuses a model that is as good in no more than one in twenty."""

    def slices(data: Dataset) -> Evidence:
        return Evidence(slices={"kind": data.vectors[:, 0] % 4})

    gate = replace(GATE, tolerance=0.0)
    passed = [
        judged(
            own(), seed, gate, slices, slices=("kind",), bad_cases=(CONFIDENT_MISS,)
        ).passed
        for seed in range(20)
    ]  # fmt: skip
    assert sum(passed) >= 19
