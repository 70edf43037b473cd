"""The quality benchmarks in small: what their files say."""

import pytest

from bench import quality, sync


@pytest.fixture(scope="module")
def found() -> dict:
    """A quick run: Phishing, with the peers of our own environment."""
    return quality.run(quick=True)


def test_the_other_environments_peers_are_left_out_of_a_quick_run(found: dict) -> None:
    """They are named as skipped, and the trees say what LightGBM says."""
    expected = {"phishing/capymoa_arf", "phishing/vw"}
    assert (True, expected) == (found["answers_equal"], set(found["skipped"]))


def test_a_ratio_is_the_peers_log_loss_over_ours(found: dict) -> None:
    """Above 1 the mixture is better, on the rows that both scored."""
    measures = found["measures"]
    peer, ours = (
        measures[f"phishing/{name}/log_loss"]["value"] for name in ("river_arf", "mixture")
    )
    assert pytest.approx(peer / ours, abs=1e-3) == found["ratios"]["phishing/river_arf"]


def test_a_lead_is_a_difference_with_its_own_interval(found: dict) -> None:
    """The paired difference is that of the two values and lies in its interval."""
    measures = found["measures"]
    lead = measures["phishing/mixture-lightgbm/log_loss"]
    peer, ours = (
        measures[f"phishing/{name}/log_loss"]["value"] for name in ("lightgbm", "mixture")
    )
    low, high = lead["interval"]
    assert (pytest.approx(ours - peer, abs=2e-5), True) == (
        lead["value"],
        low <= lead["value"] <= high,
    )


def test_the_mixture_is_no_worse_than_the_best_peer(found: dict) -> None:
    """Not beyond the interval of their difference."""
    leads = {
        name: measure["interval"][0]
        for name, measure in found["measures"].items()
        if name.startswith("phishing/mixture-") and name.endswith("log_loss")
    }
    assert max(leads.values()) <= 0


def test_sync_compares_every_interval_with_the_longest() -> None:
    """There is an AUC for each interval and a ratio for each but the longest."""
    told = sync.run(quick=True)
    aucs = [f"clicks/{name}/auc" in told["measures"] for name in sync.INTERVALS_MS]
    assert (True, len(aucs) - 1, {"flights"}) == (
        all(aucs),
        len(told["ratios"]),
        set(told["skipped"]),
    )
