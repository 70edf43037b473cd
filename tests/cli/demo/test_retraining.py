"""A retrain in the middle of the replay, with a stand-in for its process."""

import json
from types import SimpleNamespace

import pytest

from cli.demo.client import Reply
from cli.demo.progress import Progress
from cli.demo.retraining import Retraining
from tidemill.errors import ServiceError


class FakeChild:
    """A retrain that ends when told to."""

    def __init__(self, folder) -> None:
        self.code, self.started, self.killed = None, False, False
        self.launch = SimpleNamespace(log_file=folder / "retrain.log")

    def start(self) -> None:
        """Note it."""
        self.started = True

    def poll(self) -> int | None:
        """The exit code."""
        return self.code

    def end(self, code: int, **found: object) -> None:
        """Write the result and end."""
        self.launch.log_file.write_text("a warning\n" + json.dumps(found) + "\n")
        self.code = code

    def require_running(self) -> None:
        """As the real one does."""
        raise ServiceError(f"ended with {self.code}")

    def kill(self) -> None:
        """Note it."""
        self.killed = True


class FakeApi:
    """Answers /v1/status with one release."""

    release = "r0001"

    async def get(self, path: str) -> Reply:
        """The status."""
        assert path == "/v1/status"
        return Reply(200, json.dumps({"model": {"release": self.release}}).encode(), 1.0)


def at(barrier_ms: int) -> SimpleNamespace:
    """A step."""
    return SimpleNamespace(barrier_ms=barrier_ms)


@pytest.fixture(name="scene")
def make_scene(tmp_path):
    """A retraining due at 10, its child, its api and what it reports to."""
    child, api, progress = FakeChild(tmp_path), FakeApi(), Progress()
    retraining = Retraining((10,), lambda: child, api, progress, lambda: None)
    return retraining, child, api, progress


async def test_retrain_starts_when_its_time_has_come(scene):
    """Not before, and then the replay goes slowly."""
    retraining, child, _, _ = scene
    assert (await retraining.after(at(9)), child.started) == (False, False)
    assert (await retraining.after(at(10)), child.started) == (True, True)


async def test_slow_until_the_new_release_is_served(scene):
    """Publishing is not enough: the swap is waited for."""
    retraining, child, api, progress = scene
    await retraining.after(at(10))
    assert await retraining.after(at(11))
    child.end(0, outcome="published", release="r0002", reasons=[])
    assert await retraining.after(at(12))
    assert await retraining.after(at(13))
    api.release = "r0002"
    assert not await retraining.after(at(14))
    (retrain,) = progress.retrains
    assert (retrain.event_time_ms, retrain.outcome, retrain.release) == (10, "published", "r0002")


async def test_a_killed_retrain_is_started_again(scene):
    """As cron would, but not for ever."""
    retraining, child, _, progress = scene
    await retraining.after(at(10))
    for starts in (2, 3):
        child.started, child.code = False, -9
        assert await retraining.after(at(11))
        assert (child.started, progress.retrains[0].starts) == (True, starts)
    with pytest.raises(ServiceError, match="ended with -9"):
        await retraining.after(at(12))


async def test_refused_retrain_ends_the_slow_span(scene):
    """The gate's reasons are kept."""
    retraining, child, _, progress = scene
    await retraining.after(at(10))
    child.end(3, outcome="refused", release=None, reasons=["worse"])
    assert not await retraining.after(at(11))
    assert progress.retrains[0].reasons == ["worse"]


async def test_failed_retrain_fails_the_demo(scene):
    """Any other exit code is an error with the end of its log."""
    retraining, child, _, _ = scene
    await retraining.after(at(10))
    child.end(1)
    with pytest.raises(ServiceError, match="ended with 1"):
        await retraining.after(at(11))


async def test_stop_kills_a_retrain_under_way(scene):
    """Nothing is left running."""
    retraining, child, _, _ = scene
    await retraining.after(at(10))
    retraining.stop()
    assert child.killed
