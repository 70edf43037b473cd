"""How the services of `bench score` are asked and read."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import _peers
from bench._cores import two_cores
from bench._peers import PeerFailed
from bench._services import ECHO, OURS, PEERS, Service, running
from bench.peers.serving import Serve, Values, keys_of, vectors


def body_of(service: Service) -> dict[str, object]:
    """The body of a request as it is sent."""
    found: dict[str, object] = json.loads(
        service.request(("c1", "s1"), "k").partition(b"\r\n\r\n")[2]
    )
    return found


def test_only_our_api_is_told_the_key() -> None:
    """Peers check none."""
    told = [service.name for service in (OURS, *PEERS, ECHO) if b"Bearer k" in
            service.request(("c1", "s1"), "k")]  # fmt: skip
    assert ["ours"] == told


@pytest.mark.parametrize("service", [*PEERS, ECHO], ids=lambda service: service.name)
def test_a_request_names_card_and_shop(service: Service) -> None:
    """In whatever form the service wants it."""
    assert {"c1", "s1"} <= {word for word in json.dumps(body_of(service)).split('"')}


def test_an_inferred_score_is_read() -> None:
    """From the first output of the inference protocol."""
    service = next(each for each in PEERS if each.name == "mlserver")
    assert 0.25 == service.score({"outputs": [{"name": "score", "data": [0.25]}]})


def test_rows_become_vectors(tmp_path: Path) -> None:
    """A vector is the card's row and then the shop's, as it was written."""
    card, shop = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((1, 2), 9, np.float32)
    Values(["c0", "c1"], ["s0"], card, shop).write(tmp_path / "v.npz")
    rows = Values.read(str(tmp_path / "v.npz")).rows()
    found = vectors([rows[key] for key in keys_of("c1", "s0")])
    assert [[3, 4, 5, 9, 9]] == found.tolist()


def test_a_task_travels_as_json() -> None:
    """It is a program's only argument."""
    task = Serve(1, "h:2", "m", "v", "f")
    assert task == Serve(**json.loads(task.argument()))


def test_a_service_that_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started; the reason names what would install it."""
    monkeypatch.setattr(_peers, "ENVIRONMENT", tmp_path / ".venv-bench-peers")
    service = next(each for each in PEERS if each.name == "ray_serve")
    with pytest.raises(PeerFailed, match=r"run requirements/peers\.sh ray"):
        with running(service, None, two_cores()):
            pass


@pytest.mark.parametrize(
    "lock", ["peers", "peers-bentoml", "peers-litserve", "peers-mlserver", "peers-ray"]
)
def test_a_peer_has_what_makes_its_server_fast(lock: str) -> None:
    """Uvicorn takes the fast parser and loop by itself where they are installed, as ours has."""
    text = (_peers.ROOT / "requirements" / f"{lock}.txt").read_text()
    assert ("\nhttptools==" in text, "\nuvloop==" in text) == (True, True)
