"""Everything the deployment files name exists in the project or is pinned."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from cli.main import app
from tidemill import metrics
from tidemill.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DEPLOY = sorted(file for file in (ROOT / "deploy").rglob("*") if file.is_file())


def commands(service: str) -> list[list[str]]:
    """The `tidemill` command lines of a service, without the program's name."""
    words = SERVICES[service]["command"]
    if "entrypoint" not in SERVICES[service]:
        return [words]
    return [line.split()[1:] for line in re.findall(r"\btidemill [^|&;\n]+", words[0])]


def option(service: str, flag: str) -> str:
    """The value a service gives to a flag."""
    words = commands(service)[0]
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("service", OURS)
def test_commands_exist(service: str) -> None:
    """Each command, its arguments and its flags are ones the command line has."""
    known: Any = typer.main.get_command(app)
    lines = commands(service)
    assert [] != lines
    for name, *words in lines:
        command = known.commands[name]
        context = command.context_class(command, info_name=name)
        # The parser alone: it refuses an unknown flag, and it does not look for the files.
        values, surplus, _ = command.make_parser(context).parse_args(list(words))
        required = [parameter.name for parameter in command.params if parameter.required]
        assert ([], []) == (surplus, [key for key in required if not isinstance(values[key], str)])


def test_every_process_has_a_service() -> None:
    """The api, the worker and the nightly retraining all run."""
    assert ["api", "retrain", "worker"] == sorted(commands(name)[0][0] for name in OURS)


@pytest.mark.parametrize("service", OURS)
def test_variables_exist(service: str) -> None:
    """Each TIDEMILL_ variable is a setting, and the three that find the others are there."""
    names = {name for name in SERVICES[service]["environment"] if name.startswith("TIDEMILL_")}
    allowed = {"TIDEMILL_" + field.upper() for field in Settings.model_fields}
    assert set() == names - allowed
    assert {"TIDEMILL_KAFKA", "TIDEMILL_REDIS", "TIDEMILL_HOME"} <= names


def test_only_what_serves_callers_is_open() -> None:
    """TIDEMILL_OPEN is where a port is published, on loopback; all others listen to nobody."""
    told = [name for name in OURS if "TIDEMILL_OPEN" in SERVICES[name]["environment"]]
    assert ["api"] == told == [name for name in OURS if "ports" in SERVICES[name]]


def test_image_variables_exist() -> None:
    """Each TIDEMILL_ variable of the Dockerfile is a setting."""
    names = re.findall(r"TIDEMILL_[A-Z_]+", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert set() == set(names) - {"TIDEMILL_" + field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("service", OURS)
def test_settings_read_what_compose_sets(service: str) -> None:
    """The values that compose sets are ones the settings accept."""
    given = {
        name.removeprefix("TIDEMILL_").lower(): value
        for name, value in SERVICES[service]["environment"].items()
        if name.startswith("TIDEMILL_")
    }
    settings = Settings(**given)
    assert ("kafka:9092", Path("/data")) == (settings.kafka, settings.home)


def test_images_are_pinned() -> None:
    """Every image has a full version; nothing moves by itself."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    images = [service["image"] for service in SERVICES.values()]
    images += re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    loose = [
        image for image in images if not re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*", image)
    ]
    assert [] == loose


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_services_are_bounded_and_watched(service: str) -> None:
    """Each service has a health check, a memory limit and a processor limit."""
    assert {"healthcheck", "mem_limit", "cpus"} <= SERVICES[service].keys()


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_ports_are_on_loopback(service: str) -> None:
    """No port is open to the network by default."""
    ports = SERVICES[service].get("ports", [])
    assert [] == [port for port in ports if not port.startswith("127.0.0.1:")]


def test_ports_are_the_ones_served() -> None:
    """What compose publishes, checks and scrapes is what the flags say."""
    api, worker = option("api", "--port"), option("worker", "--metrics-port")
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    targets = [t for job in config["scrape_configs"] for t in job["static_configs"][0]["targets"]]
    assert [f"127.0.0.1:{api}:{api}"] == SERVICES["api"]["ports"]
    assert f":{api}/healthz" in SERVICES["api"]["healthcheck"]["test"][-1]
    assert f":{worker}/metrics" in SERVICES["worker"]["healthcheck"]["test"][-1]
    assert {f"api:{api}", f"worker:{worker}"} == set(targets)


def test_addresses_name_services() -> None:
    """Kafka's and Valkey's addresses are a service and a port that it listens on."""
    for name in OURS:
        assert "kafka:9092" == SERVICES[name]["environment"]["TIDEMILL_KAFKA"]
        assert SERVICES[name]["environment"]["TIDEMILL_REDIS"].startswith("redis://valkey:6379/")
    assert "INSIDE://:9092" in SERVICES["kafka"]["environment"]["KAFKA_LISTENERS"]


def test_mounted_files_exist() -> None:
    """Every file of the checkout that compose mounts is there."""
    mounts = [v for service in SERVICES.values() for v in service.get("volumes", [])]
    paths = [re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", mount).split(":")[0] for mount in mounts]
    named = set(COMPOSE["volumes"])
    missing = [path for path in paths if path not in named and not (ROOT / path).exists()]
    assert [] == missing
    assert (ROOT / "examples/flights/project.py").is_file()


def metric_names(text: str) -> set[str]:
    """The project's metrics in a text; a histogram's series count as the histogram."""
    found = set(re.findall(r"\btidemill_[a-z_]+", text))
    series = {f"{m.name}{end}": m.name for m in metrics.NAMES.values() for end in suffixes(m)}
    return {series.get(name, name) for name in found}


def suffixes(metric: metrics.Metric) -> tuple[str, ...]:
    """What Prometheus appends to the name."""
    return ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ()


@pytest.mark.parametrize("file", DEPLOY, ids=lambda file: file.name)
def test_metrics_exist(file: Path) -> None:
    """Boards and rules use only metrics that the project exports."""
    assert set() == metric_names(file.read_text(encoding="utf-8")) - metrics.NAMES.keys()


@pytest.mark.parametrize("file", DEPLOY, ids=lambda file: file.name)
def test_labels_exist(file: Path) -> None:
    """A metric is filtered only by labels that it has, or that every target has."""
    text = file.read_text(encoding="utf-8").replace('\\"', '"')
    for used, filters in re.findall(r"\b(tidemill_[a-z_]+)\{([^}]*)\}", text):
        (name,) = metric_names(used)
        asked = set(re.findall(r"(\w+)\s*[=!]", filters))
        assert set() == asked - {*metrics.NAMES[name].labels, "job", "instance"}


def test_board_draws_the_loop() -> None:
    """The provisioned board shows what an operator of the loop asks first."""
    board = json.loads((ROOT / "deploy/grafana/boards/tidemill.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    drawn = metric_names(" ".join(t["expr"] for p in panels for t in p["targets"]))
    asked = {
        "tidemill_requests_total",
        "tidemill_request_seconds",
        "tidemill_consumer_lag_records",
        "tidemill_auc",
        "tidemill_log_loss",
        "tidemill_model_info",
        "tidemill_model_snapshot",
        "tidemill_dead_letters_total",
    }
    assert set() == asked - drawn


def test_grafana_finds_its_source_and_board() -> None:
    """The board's data source and folder are the provisioned ones."""
    folder = ROOT / "deploy/grafana/provisioning"
    sources = yaml.safe_load((folder / "datasources/prometheus.yml").read_text(encoding="utf-8"))
    boards = yaml.safe_load((folder / "dashboards/tidemill.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    (provider,) = boards["providers"]
    mounts = SERVICES["grafana"]["volumes"]
    board = json.loads((ROOT / "deploy/grafana/boards/tidemill.json").read_text(encoding="utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert {source["uid"]} == {panel["datasource"]["uid"] for panel in panels}
    assert "http://prometheus:9090" == source["url"]
    assert f"./deploy/grafana/boards:{provider['options']['path']}:ro" in mounts
