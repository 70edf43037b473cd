"""The benchmarks of the learners run in small, and the comparison's data mean the same to all."""

from pathlib import Path

import numpy as np
import pytest

from bench import contract, learn
from bench._learn_linear import make_examples, one_core, read_and_learn, write_examples


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own AdaGrad
def test_quick_compares_and_measures() -> None:
    """--quick needs no peer; its answers are right."""
    found = learn.run(quick=True)
    told = (found["benchmark"], found["answers_equal"], {"vw", "river"} <= set(found["skipped"]))
    assert ("learn", True, True) == told
    assert {"linear_examples", "head_examples"} <= set(found["measures"])


def test_the_text_has_the_rows_that_the_arrays_have(tmp_path: Path) -> None:
    """Vowpal Wabbit and River read the labels and pairs that ours reads."""
    examples = make_examples(20)
    write_examples(examples, tmp_path)
    lines = (tmp_path / "text").read_text().splitlines()
    for row, line in enumerate(lines):
        label, pairs = line.split(" | ")
        named = [pair.partition(":") for pair in pairs.split()]
        assert examples.labels[row] == (label == "1")
        assert examples.slots[row].tolist() == [int(slot) for slot, _, _ in named]
        values = np.array([value or 1 for _, _, value in named], np.float32)
        np.testing.assert_array_equal(examples.values[row], values)


def test_ours_scores_every_row_it_read(tmp_path: Path) -> None:
    """The scores and labels are those of the file, on whichever core."""
    examples = make_examples(50)
    write_examples(examples, tmp_path)
    with one_core():
        seconds, scores, labels = read_and_learn(tmp_path)
    np.testing.assert_array_equal(examples.labels, labels)
    assert (50, True) == (len(scores), seconds > 0)


def test_the_contract_tells_cold_from_naive_from_primed() -> None:
    """Primed is nearest to the release, and what naive unlearns shows in its first step."""
    found = contract.run(quick=True)
    values = {name: measure["value"] for name, measure in found["measures"].items()}
    release, row = values["linear_linear_release_loss"], "linear_linear"
    losses = [values[f"{row}_{start}_loss"] for start in ("primed", "naive", "cold")]
    assert losses == sorted(losses)
    assert losses[0] < release + 0.005
    assert values[f"{row}_primed_step"] < 0.1 * values[f"{row}_naive_step"]
    assert found["answers_equal"]
