"""What splits say follows from the leaves when the text does not tell."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import model_of

from batch.compression.forest import Forest
from batch.compression.gains import shares_of_gain
from batch.publish.differences import importance
from learners.lightgbm_text import parse_model
from tidemill.tasks import BINARY, REGRESSION, Task


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.kind)
def test_shares_are_about_those_of_lightgbm(task: Task) -> None:
    """A slim text is told apart by features nearly as the whole one is."""
    model = model_of("trees", task).data
    slim = Forest.of(parse_model(model)).text(6)
    expected, found = importance(model), importance(slim)
    assert found == shares_of_gain(slim)
    assert list(expected) == list(found)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=0.05)
    assert sum(found.values()) == pytest.approx(1)
