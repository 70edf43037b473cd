"""The benchmark of compression measures every form of every model, in small."""

import pytest

from bench.compression import run


def test_quick_measures_every_form() -> None:
    """Bytes, loss and latency before and after, and every export answers alike."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    found = run(quick=True)
    assert found["answers_equal"]
    forms = {tuple(name.split("/")[:2]) for name in found["measures"]}
    assert {("trees", "fast"), ("net", "wish"), ("linear", "limit"), ("net", "before")} <= forms
    assert all(ratio >= 1 for name, ratio in found["ratios"].items() if name.endswith("bytes"))
