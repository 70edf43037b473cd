"""Progress is that of the examples, whatever the batches, repeats and corrections."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from learners.progress import Progress, ProgressSettings
from learners.quality import auc, calibration_error, log_loss, rmse
from tidemill.durations import HOUR_MS
from tidemill.tasks import BINARY, REGRESSION, Task
from tidemill.wire import Example, Prediction

NOW = 1_400_000_000_000
SMALL = ProgressSettings(
    wait_ms=12 * HOUR_MS, slices=("carrier",), window=30, half_life=20, memory=60, values=2
)


def example(number: int, score: float, label: float, **changes: object) -> Example:
    """The example of one request; carriers come round."""
    carrier = "ABACADAEAF"[number % 10]
    answered = Prediction(
        f"p{number}", "", NOW + number * 60_000, b"", "s", score, 0.5, "r0001", 1, NOW,
        msgspec.json.encode({"carrier": carrier}),
    )  # fmt: skip
    made = Example(answered, label, NOW + number * 60_000 + 1000, NOW, number % 3, number // 3 + 1)
    return msgspec.structs.replace(made, **changes)


def stream(count: int, seed: int = 1) -> list[Example]:
    """Examples with weights."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count)
    labels = (rng.random(count) < scores).astype(float)
    weights = rng.exponential(size=count)
    return [
        example(i, float(scores[i]), float(labels[i]), weight=float(weights[i]))
        for i in range(count)
    ]


def columns(examples: list[Example]) -> tuple[np.ndarray, ...]:
    """Labels, scores and weights."""
    return tuple(
        np.array(column)
        for column in zip(*((e.label, e.prediction.score, e.weight) for e in examples), strict=True)
    )


def fed(examples: list[Example], batch: int = 7, task: Task = BINARY, settings=SMALL) -> Progress:
    """Progress over the examples."""
    progress = Progress(task, settings)
    for start in range(0, len(examples), batch):
        progress.add(examples[start : start + batch])
    return progress


def test_nothing_until_both_classes_were_seen() -> None:
    """One class alone gives None for every measure."""
    nothing = {"service": None, "release": None}
    names = ("auc", "log_loss", "calibration_error", "accuracy")
    progress = Progress()
    assert dict.fromkeys(names, nothing) == progress.summary()
    progress.add([example(0, 0.5, 1)])
    assert dict.fromkeys(names, nothing) == progress.summary()


@pytest.mark.parametrize("batch", [1, 7, 30, 100])
def test_sliding_measures_are_those_of_the_newest(batch: int) -> None:
    """The summary equals the measures of the last `window` examples, with their weights."""
    examples = stream(100)
    newest = columns(examples[-30:])
    found = fed(examples, batch).summary()
    assert auc(*newest) == pytest.approx(found["auc"]["service"])
    assert log_loss(*newest) == pytest.approx(found["log_loss"]["service"])
    assert 0.5 == found["auc"]["release"]
    assert np.log(2) == pytest.approx(found["log_loss"]["release"])


def test_decayed_measures_weigh_the_old_less() -> None:
    """Each example weighs half of one that came `half_life` later."""
    examples = stream(3000)
    labels, scores, weights = columns(examples)
    aged = weights * 0.5 ** (np.arange(len(weights))[::-1] / SMALL.half_life)
    found = fed(examples).report().decayed.roles["service"]
    assert log_loss(labels, scores, aged) == pytest.approx(found.log_loss)
    assert abs(auc(labels, scores, aged) - found.auc) <= found.auc_error
    expected = calibration_error(labels, scores, aged)
    assert expected == pytest.approx(found.calibration_error, abs=0.02)


def test_decayed_sums_never_overflow() -> None:
    """After many half-lives the sums have been brought down, and say the same."""
    short = replace(SMALL, half_life=1)
    examples = stream(3000)
    labels, scores, weights = columns(examples[-60:])
    aged = weights * 0.5 ** np.arange(60)[::-1]
    found = fed(examples, 500, settings=short).report().decayed.roles["service"]
    assert log_loss(labels, scores, aged) == pytest.approx(found.log_loss)


def test_repeats_count_once() -> None:
    """A learner that was restored learns some examples again; they are returned only once."""
    examples = stream(50)
    progress, again = fed(examples), fed(examples)
    assert [] == again.add(examples[20:])
    assert msgspec.json.encode(progress.report()) == msgspec.json.encode(again.report())


@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize("task", [BINARY, REGRESSION])
def test_a_correction_replaces_its_label(batch: int, task: Task) -> None:
    """Everything is as if the corrected label had come first."""
    examples = stream(60)
    right = msgspec.structs.replace(examples[40], label=1 - examples[40].label, weight=3.0)
    wrong_first = [
        *examples,
        msgspec.structs.replace(right, kind="correction", partition=9, label_time=NOW * 2),
    ]
    expected = fed([*examples[:40], right, *examples[41:]], batch, task).report()
    found = fed(wrong_first, batch, task).report()
    assert (1, 0, 60) == (found.corrected, found.not_corrected, found.examples)
    for mine, theirs in [
        (expected.sliding.roles, found.sliding.roles),
        (expected.decayed.roles, found.decayed.roles),
        *zip([b.roles for b in expected.buckets], [b.roles for b in found.buckets], strict=True),
        *zip([s.roles for s in expected.slices], [s.roles for s in found.slices], strict=True),
    ]:
        for name in type(mine["service"]).__struct_fields__:
            wanted = getattr(mine["service"], name)
            assert wanted == pytest.approx(getattr(theirs["service"], name)), name


def test_a_correction_of_what_is_long_gone_is_counted() -> None:
    """It can replace nothing, so it changes nothing but that count."""
    examples = stream(100)
    progress, before = fed(examples), fed(examples).report()
    progress.add([msgspec.structs.replace(examples[0], kind="correction", sequence=1000)])
    found = progress.report()
    assert (0, 1) == (found.corrected, found.not_corrected)
    assert before.buckets == found.buckets


def test_slices_are_the_most_frequent_values() -> None:
    """The most frequent first; what is beyond their number is one slice of all others."""
    examples = stream(100)
    found = fed(examples).report().slices
    newest = examples[-60:]
    of_a = [e for e in newest if b'"A"' in e.prediction.request]
    assert [("carrier", "A", 30), ("carrier", "", 24)] == [
        (s.field, s.value, s.examples) for s in (found[0], found[-1])
    ]
    assert 3 == len(found)
    assert log_loss(*columns(of_a)) == pytest.approx(found[0].roles["service"].log_loss)


def test_numbers_have_their_measures() -> None:
    """A regression has MAE and RMSE, in every part."""
    rng = np.random.default_rng(2)
    examples = [
        example(i, float(v), float(v + w)) for i, (v, w) in enumerate(rng.normal(size=(90, 2)))
    ]
    progress = fed(examples, task=REGRESSION)
    assert rmse(*columns(examples[-30:])) == pytest.approx(progress.summary()["rmse"]["service"])
    report = progress.report()
    parts = [report.decayed.roles, report.buckets[0].roles, report.slices[0].roles]
    assert all(part["service"].rmse is not None for part in parts)
    assert all(part["service"].auc is None for part in parts)


def test_several_classes_are_only_counted() -> None:
    """Their scores are not one number."""
    report = fed(stream(40), task=Task("multiclass", 3)).report()
    assert (40, None) == (report.examples, report.sliding.roles["service"].log_loss)


def test_a_candidate_is_compared_on_its_own_examples() -> None:
    """Beside what was answered to the same examples; gone when it took over."""
    examples = stream(80)
    progress = fed(examples)
    assert progress.candidate() is None
    scores = np.random.default_rng(3).random(20)
    scores[3] = np.nan
    kept = [i for i in range(20) if i != 3]
    progress.add_candidate(examples[:20], scores)
    labels, answered, weights = columns([examples[i] for i in kept])
    found = progress.candidate()
    assert found is not None
    assert 19 == found.examples
    assert log_loss(labels, scores[kept], weights) == pytest.approx(found.candidate.log_loss)
    assert log_loss(labels, answered, weights) == pytest.approx(found.service.log_loss)
    assert found.candidate.auc == progress.summary()["auc"]["candidate"]
    progress.drop_candidate()
    assert progress.candidate() is None


def test_the_document_says_since_when() -> None:
    """Times are the stream's: the first label counted, and the newest moment."""
    examples = stream(10)
    report = fed(examples).report()
    assert (examples[0].label_time, examples[-1].label_time) == (report.since_ms, report.now_ms)
    assert ["service", "release"] == list(report.sliding.roles)
