"""The benchmark of the trees' training compares what is equal, in small."""

from bench.trees_training import run


def test_quick_measures_every_way() -> None:
    """One core and two give one model, and every way has a quality and a time."""
    found = run(quick=True)
    ways = {name.split("/")[0] for name in found["measures"]}
    assert (True, ways) == (found["answers_equal"], set(found["ratios"]))
    assert {"scratch", "continued"} <= ways
