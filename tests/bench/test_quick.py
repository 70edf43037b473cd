"""Every benchmark that measures time runs in small, on what this machine has."""

from importlib import import_module

import pytest

WITHOUT = {
    "stream": {"kafka", "faust_agent", "faust_table", "quixstreams", "bytewax"},
    "store": {"feast"},
    "freshness": {"kafka"},
    "memory": {"kafka"},
    "freshness_learn": {"kafka"},
    "dataset": {"pandas"},
    "tune": {"flights", "clicks/flaml_all", "clicks/flaml_lightgbm"},
    "model": {"lleaves"},
    "explain": set(),
    "swap": {"kafka"},
    "trial": set(),
    "score": {"kafka", "fastapi_feast", "litserve", "bentoml", "ray_serve", "mlserver"},
}


@pytest.mark.parametrize("name", WITHOUT)
def test_quick_compares_and_measures(name: str) -> None:
    """--quick needs no peer and no broker of its own; its answers are right."""
    found = import_module(f"bench.{name}").run(quick=True)
    samples = [len(measure["samples"]) for measure in found["measures"].values()]
    told = (found["benchmark"], found["answers_equal"], set(found["skipped"]), min(samples) > 0)
    assert (name, True, WITHOUT[name], True) == told
