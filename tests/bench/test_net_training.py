"""The benchmark of the net's training runs in small."""

import pytest

pytest.importorskip("torch")

from bench import net_training  # noqa: E402  after torch is known to be there


def test_quick_compares_and_measures() -> None:
    """Ours learns as well as the plain loops, and is timed against them."""
    found = net_training.run(quick=True)
    peers = {f"torch_{how}_{rows}" for how in ("loader", "tensors") for rows in ("flights", "ids")}
    assert ("net_training", True) == (found["benchmark"], found["answers_equal"])
    assert (peers, {"options"}) == (set(found["ratios"]), set(found["skipped"]))


def test_each_option_is_compared_to_the_same_net_without() -> None:
    """On a GPU neither threads nor processes are tried."""
    for device, fewer in (("cpu", 0), ("cuda", 6)):
        tried = net_training.options_of(device)
        assert 21 - fewer == len(tried)
        for name, (settings, told, without) in tried.items():
            assert name == "small" or (settings, told) != tried[without][:2]


def test_checkpointing_keeps_less_of_a_deep_net() -> None:
    """Every other layer's results are not kept."""
    work = net_training.make_work(200, 6, 2, 50)
    kept = [net_training.kept_bytes(work, (16, 16, 16, 16), how) for how in (False, True)]
    assert 0 < kept[1] < kept[0]
