"""A declaration of drift is checked where it is written."""

import pytest

from tidemill import Label, Project, Request, RequestFeature
from tidemill.drift import Drift
from tidemill.errors import DeclarationError


def test_defaults_watch_with_every_detector() -> None:
    """Without a word about it, no retrain is started."""
    drift = Drift()
    assert ("adwin", "page_hinkley", "kswin") == drift.detectors
    assert (False, 6 * 3_600_000) == (drift.retrain, drift.cooldown_ms)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"detectors": ("ddm",)}, "Drift.detectors"),
        ({"detectors": ("adwin", "adwin")}, "Drift.detectors"),
        ({"detectors": ["adwin"]}, "Drift.detectors"),
        ({"ignore": "hour"}, "Drift.ignore"),
        ({"ignore": (1,)}, "Drift.ignore"),
        ({"psi_limit": 0}, "Drift.psi_limit"),
        ({"loss_limit": -1}, "Drift.loss_limit"),
        ({"reference": 5}, "Drift.reference"),
        ({"newest": 1.5}, "Drift.newest"),
        ({"block": 0}, "Drift.block"),
        ({"retrain": "yes"}, "Drift.retrain"),
        ({"cooldown": "soon"}, "Drift.cooldown"),
    ],
)
def test_mistakes_are_named(changes: dict, named: str) -> None:
    """The error says which part, what was found and what is allowed."""
    with pytest.raises(DeclarationError, match=named):
        Drift(**changes)


def project(**changes: object) -> Project:
    """The smallest project, and these."""
    request = Request({"card": str, "amount": float})
    features = (RequestFeature("amount", request.amount),)
    label = Label(("card",), "1d")
    return Project("payments", (), request, features, label, **changes)


def test_a_project_watches_what_it_has() -> None:
    """Slices are fields of the request, what drift ignores are features or the score."""
    drift = Drift(ignore=("amount", "score"))
    made = project(slices=("card", "amount"), drift=drift)
    assert (("card", "amount"), drift) == (made.slices, made.drift)
    assert ((), None) == (project().slices, project().drift)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"slices": ("shop",)}, "Project.slices"),
        ({"slices": ("card", "card")}, "Project.slices"),
        ({"slices": "card"}, "Project.slices"),
        ({"slices": (1,)}, "Project.slices"),
        ({"drift": True}, "Project.drift"),
        ({"drift": Drift(ignore=("card",))}, "Drift.ignore"),
    ],
)
def test_what_a_project_does_not_have_is_named(changes: dict, named: str) -> None:
    """With what was found and what is allowed."""
    with pytest.raises(DeclarationError, match=named):
        project(**changes)
