"""What is answered before anything was learned."""

import numpy as np

from learners.prior import Prior


def test_every_request_gets_the_same_probability():
    """One score and one baseline a row, whatever the vector, missing values included."""
    vectors = np.array([[1.0, np.nan], [np.nan, np.nan], [-1e30, 0.0]], np.float32)
    for scores in Prior().predict_both(vectors):
        assert [0.5, 0.5, 0.5] == scores.tolist()
        assert np.float64 == scores.dtype


def test_no_requests_are_no_scores():
    """An empty group is answered with nothing."""
    assert [0, 0] == [len(each) for each in Prior().predict_both(np.empty((0, 3), np.float32))]
