"""The demo as a whole, on three weeks of history."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from cli.demo.demo import run_demo
from cli.demo.history import History, read_history
from cli.demo.options import DemoOptions, month_start_ms
from cli.demo.timeline import rows
from cli.services.directory import claim_directory
from cli.services.ports import free_port
from tidemill.durations import DAY_MS
from tidemill.errors import LockedError, ServiceError, SettingsError
from tidemill.settings import Settings

KEYS = {
    "failed_requests", "events_read", "events_applied", "dead_letters", "predictions",
    "labels_joined", "examples", "releases_served", "snapshots_served", "auc", "log_loss",
    "latency_ms", "label_to_weights_ms", "scores_per_second", "rss_mb",
}  # fmt: skip
ROLES = {"static", "release", "service"}


def three_weeks() -> History:
    """What happened from mid-April to early May."""
    low, high = month_start_ms(5) - 18 * DAY_MS, month_start_ms(5) + 4 * DAY_MS
    whole = read_history()

    def cut(table: dict[str, np.ndarray], by: str) -> dict[str, np.ndarray]:
        return rows(table, np.flatnonzero((table[by] >= low) & (table[by] < high)))

    events = {name: cut(table, "time") for name, table in whole.events.items()}
    return History(events, cut(whole.requests, "time"), cut(whole.labels, "asked"))


def running(commands: list[str]) -> list[int]:
    """Processes of this user whose command line has all these words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if all(word in line for word in commands):
                found.append(int(entry.name))
    return found


def test_demo_closes_the_loop_and_reports_it(tmp_path, capsys):
    """Three days: nothing fails, every label becomes an example, a retrain runs beside it."""
    json_file = tmp_path / "report.json"
    port = free_port()
    options = DemoOptions(days=3, port=port, json_file=json_file)
    settings = Settings(home=tmp_path / "home", kafka=None, redis=None)
    report = run_demo(options, settings, three_weeks())
    assert json.loads(json_file.read_text()) == report
    assert report.keys() >= KEYS
    assert (report["failed_requests"], report["dead_letters"]) == (0, 0)
    assert report["events_read"] == report["events_applied"] == report["events_sent"]
    assert report["predictions"] == report["scored"] == report["labels_sent"]
    assert report["examples"] == report["labels_joined"] == report["scored"] > 1_000
    (retrain,) = report["retrains"]
    # So little data may not make a better model; then the gate says so.
    published = {"published": 1, "refused": 0}[retrain["outcome"]]
    assert report["releases_served"] == 1 + published
    assert report["snapshots_served"] > 2
    assert report["auc"].keys() == report["log_loss"].keys() == ROLES
    assert report["auc"]["release"] > report["auc"]["static"]
    assert report["exit_codes"] == {"worker": 0, "api": 0}
    assert 50 < report["rss_mb"]["api"] < 600
    assert running(["tidemill", "api", str(port)]) == []
    assert "flights scored" in capsys.readouterr().err
    assert os.listdir(tmp_path / "home") == ["demo"]


def test_a_taken_port_is_said_at_once(tmp_path):
    """What answers on the port is not the demo's: nothing is started, the port is named."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServiceError, match=str(port)):
            run_demo(DemoOptions(port=port), Settings(home=tmp_path, kafka=None, redis=None))
    assert os.listdir(tmp_path) == []


def test_a_report_that_cannot_be_written_is_said_at_once(tmp_path):
    """A folder that is not there is found before the work, not after it."""
    options = DemoOptions(port=free_port(), json_file=tmp_path / "nowhere" / "report.json")
    with pytest.raises(SettingsError, match="nowhere"):
        run_demo(options, Settings(home=tmp_path, kafka=None, redis=None))


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path):
    """The first one's data stays as it is."""
    claim = claim_directory(tmp_path / "demo")
    (tmp_path / "demo" / "precious").mkdir()
    settings = Settings(home=tmp_path, kafka=None, redis=None)
    with pytest.raises(LockedError):
        run_demo(DemoOptions(port=free_port()), settings, three_weeks())
    claim.release()
    assert (tmp_path / "demo" / "precious").is_dir()
