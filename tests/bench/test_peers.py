"""Running the benchmarks' peers."""

from pathlib import Path

import pytest

from bench import _peers
from bench._peers import Peer, PeerFailed


def test_a_missing_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the peers' environment the reason names the script that makes it."""
    monkeypatch.setattr(_peers, "ENVIRONMENT", tmp_path / ".venv-bench-peers")
    with pytest.raises(PeerFailed, match=r"run requirements/peers\.sh"):
        Peer("quixstreams_stateless", "quixstreams", own=True).run({}, tmp_path / "f.json", 1.0)
    with pytest.raises(PeerFailed, match=r"-ray is missing: run requirements/peers\.sh ray"):
        Peer("serve_ray", "ray", own=True, extra="ray").run({}, tmp_path / "f.json", 1.0)


def test_a_peer_that_fails_is_told_with_its_last_line(tmp_path: Path) -> None:
    """A program that writes no result ends in its exit code and what it said last."""
    with pytest.raises(PeerFailed, match=r"exit code 1: .*No module named bench\.peers\.nothing"):
        Peer("nothing", "nothing", own=False).run({}, tmp_path / "f.json", 1.0)
