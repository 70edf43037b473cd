"""The net's benchmark compares like with like."""

import pytest

from bench._learn_net import BATCH, IDS, make_work, same_losses


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's own AdaGrad
def test_both_have_the_same_losses() -> None:
    """From the same weights, torch and ours lose the same on every batch while they learn."""
    pytest.importorskip("torch")
    work = make_work(4, (8, 4), 300, 5)
    assert len(work.release.network.table) == 300 * IDS
    assert work.batches[0][0].shape == (BATCH, 20)
    assert same_losses(work)
