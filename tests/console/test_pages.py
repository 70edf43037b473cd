"""The console's app answers with the right files and headers, and the page shows a status."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from console import pages
from console.pages import CONTENT_SECURITY_POLICY, STATIC, console_app
from tidemill.jobs import JobsReport
from tidemill.quality import Quality

FIXTURE = json.loads((Path(__file__).parent / "status.json").read_text())
EMPTY = {
    "project": "flights",
    "now_ms": FIXTURE["now_ms"],
    "model": {"release": None, "snapshot": None, "examples": 0, "adopted_ms": None, "swaps": []},
    "api": {
        "requests_total": 0,
        "failed_total": 0,
        "latency_ms": {"p50": None, "p99": None},
        "label_to_weights_ms": {"p50": None, "p99": None},
        "queue_depth": 0,
        "series": [],
    },
    "worker": {"alive": False, "seen_ms": None, "series": [], "counts": {}},
    "bad_cases": [],
}
OWN_SCRIPTS = sorted(STATIC.glob("*.js"))
OWN_TEXT = sorted(p for p in STATIC.iterdir() if p.is_file())
EVERY_FILE = sorted(p for p in STATIC.rglob("*") if p.is_file())

JOBS = json.loads((Path(__file__).parent / "jobs.json").read_text())
NO_JOBS = msgspec.to_builtins(JobsReport())

Answer = Callable[[], Response]


def mounted(answer: Answer, jobs: Any = NO_JOBS) -> Starlette:
    """The console beside its two routes, as the api serves them."""

    def status(request: Request) -> Response:
        return answer()

    def scheduled(request: Request) -> Response:
        return JSONResponse(jobs)

    routes = [Route("/v1/status", status), Route("/v1/jobs", scheduled)]
    return Starlette(routes=[*routes, Mount("/console", console_app())])


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the mounted console."""
    transport = httpx.ASGITransport(mounted(lambda: JSONResponse(FIXTURE)))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://console.test", follow_redirects=True
    ) as made:
        yield made


def key_paths(value: Any) -> set[str]:
    """Every key that occurs in a JSON value, at any depth."""
    if isinstance(value, dict):
        return set(value) | {k for inner in value.values() for k in key_paths(inner)}
    if isinstance(value, list):
        return {k for inner in value for k in key_paths(inner)}
    return set()


class Ids(HTMLParser):
    """Collects ids, files named, and anything inline that the policy would block."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        super().__init__()
        self.ids: list[str] = []
        self.files: list[str] = []
        self.pointed: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag's attributes."""
        found = {name: value or "" for name, value in attrs}
        self.ids += [found["id"]] if "id" in found else []
        self.pointed += [found["aria-labelledby"]] if "aria-labelledby" in found else []
        link = found.get("src") or found.get("href") or ""
        if link.startswith("#"):
            self.pointed.append(link[1:])
        elif link:
            self.files.append(link)
        self.inline += [n for n in found if n == "style" or n.startswith("on")]
        self.inline += [tag] if tag == "style" or (tag == "script" and "src" not in found) else []


@pytest.fixture
def index() -> Ids:
    """The page, parsed."""
    parsed = Ids()
    parsed.feed((STATIC / "index.html").read_text())
    return parsed


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda p: str(p.relative_to(STATIC)))
async def test_every_file_is_served_with_type_and_policy(
    client: httpx.AsyncClient, path: Path
) -> None:
    """Each static file comes with its bytes, its own type, the policy and nosniff."""
    answer = await client.get(f"/console/{path.relative_to(STATIC).as_posix()}")
    types = {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
        "": "text/plain; charset=utf-8",
    }
    assert answer.status_code == 200
    assert path.read_bytes() == answer.content
    assert types[path.suffix] == answer.headers["content-type"]
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_index_answers_at_the_mount(client: httpx.AsyncClient) -> None:
    """`/console` leads to `/console/`, which is the page."""
    answer = await client.get("/console")
    assert answer.url.path == "/console/"
    assert (STATIC / "index.html").read_bytes() == answer.content


async def test_vendored_files_are_kept_and_own_files_are_checked(client: httpx.AsyncClient) -> None:
    """A versioned vendor path never changes; our files are revalidated and answer 304."""
    own = await client.get("/console/main.js")
    vendored = await client.get("/console/vendor/uplot-1-6-32/uPlot.esm.js")
    again = await client.get("/console/main.js", headers={"if-none-match": own.headers["etag"]})
    assert own.headers["cache-control"] == "no-cache"
    assert vendored.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["nothing.js", "../pages.py", "%2e%2e/pages.py", "vendor/"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    """A missing file, a folder, and a path out of the static folder answer 404."""
    answer = await client.get(f"/console/{path}")
    assert answer.status_code == 404


def test_policy_allows_only_this_origin() -> None:
    """The policy names no other origin and no unsafe source."""
    words = set(CONTENT_SECURITY_POLICY.replace(";", "").split())
    assert {w for w in words if w.startswith("'")} == {"'none'", "'self'"}
    assert "http" not in CONTENT_SECURITY_POLICY


def test_page_has_nothing_inline(index: Ids) -> None:
    """The page carries no inline script, style or handler, which the policy would block."""
    assert [] == index.inline


def test_files_and_ids_the_page_names_exist(index: Ids) -> None:
    """Every file the page loads is there, its ids are unique, and its references resolve."""
    assert [] == [f for f in index.files if not (STATIC / f).is_file()]
    assert len(index.ids) == len(set(index.ids))
    assert [] == [p for p in index.pointed if p not in index.ids]


def test_ids_the_scripts_use_exist(index: Ids) -> None:
    """Each id that a script asks for is in the page, also those it puts together."""
    text = "\n".join(p.read_text() for p in OWN_SCRIPTS)
    used = set(re.findall(r"""(?:by|put|getElementById)\(\s*"([\w-]+)\"""", text))
    used |= set(re.findall(r'^  "(chart-\w+)":', text, re.MULTILINE))
    for name in re.findall(r'(?:card|showQuality)\("(\w+)"', text):
        used |= {f"{name}-value", f"{name}-detail"}
    for name in re.findall(r'pill\("(\w+)"', text):
        used |= {f"pill-{name}", f"{name}-text"}
    assert len(used) > 25
    assert set() == used - set(index.ids)


def test_imports_between_modules_resolve() -> None:
    """Every import names a file that is there and a name that it exports."""
    missing = []
    for script in OWN_SCRIPTS:
        pattern = r'import (\{[^}]*\}|\w+) from "\./([^"]+)"'
        for names, target in re.findall(pattern, script.read_text()):
            text = (STATIC / target).read_text()
            for name in re.findall(r"\w+", names) if names.startswith("{") else []:
                if not re.search(rf"export (?:async )?(?:function|class|const) {name}\b", text):
                    missing.append((script.name, target, name))
    assert [] == missing


@pytest.mark.parametrize("path", OWN_TEXT, ids=lambda p: p.name)
def test_no_external_address(path: Path) -> None:
    """Our files name no other host; an XML namespace is a name, not an address."""
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert [] == re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}\S*", text)


def test_vendored_code_names_addresses_only_in_comments() -> None:
    """The chart library asks for nothing: its addresses are in comments alone."""
    vendor = STATIC / "vendor" / "uplot-1-6-32"
    code = re.sub(r"/\*.*?\*/", "", (vendor / "uPlot.esm.js").read_text(), flags=re.DOTALL)
    code = re.sub(r"(?m)(?:^|\s)//.*$", "", code)
    assert [] == re.findall(r"https?://", code)
    assert "http" not in (vendor / "uPlot.min.css").read_text()
    assert "MIT" in (vendor / "LICENSE").read_text()


def test_contract_names_every_key_of_the_fixture() -> None:
    """The documented status names each key that the fixture has, so neither drifts alone."""
    features = {name for case in FIXTURE["bad_cases"] for name in case["features"]}
    described = features | (key_paths(FIXTURE["worker"]["quality"]) - set(FIXTURE))
    assert set() == {
        key for key in key_paths(FIXTURE) - described if f'"{key}"' not in (pages.__doc__ or "")
    }


def test_the_fixtures_quality_is_the_documents() -> None:
    """What the page reads of the quality is what a worker writes."""
    found = msgspec.convert(FIXTURE["worker"]["quality"], Quality)
    assert FIXTURE["worker"]["quality"] == msgspec.to_builtins(found)


# ---- In a browser


@contextmanager
def serving(answer: Answer, jobs: Any = NO_JOBS) -> Iterator[str]:
    """Serve the console on a free loopback port for the length of the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(mounted(answer, jobs), log_level="error", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/console/"
        finally:
            server.should_exit = True
            thread.join(20)


def render(url: str, profile: Path) -> tuple[str, list[str]]:
    """The page's DOM after some seconds of its own time, and what its console said."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--disable-quic", "--no-first-run", "--no-default-browser-check"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", "--window-size=1600,1200"]
    command += ["--virtual-time-budget=4000", "--dump-dom", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def text_of(dom: str, name: str) -> str:
    """The text of the element with this id."""
    found = re.search(rf'id="{name}"[^>]*>([^<]*)<', dom)
    return found.group(1) if found else f"no element {name}"


def test_page_shows_the_status(tmp_path: Path) -> None:
    """In a browser the page shows the fixture's numbers, curves and cases, without a complaint."""
    with serving(lambda: JSONResponse(FIXTURE)) as url:
        dom, console = render(url, tmp_path)
    assert [] == console
    assert {
        "project": "flights",
        "connection-text": "Live",
        "api-text": "API ok",
        "worker-text": "Worker ok",
        "serving-release": "r0002",
        "serving-detail": "snapshot 12, 12,345 examples, adopted 4 s ago",
        "auc-value": "0.7812",
        "auc-detail": "+0.0071 vs release",
        "loss-value": "0.4520",
        "loss-detail": "−0.0050 vs release",
        "latency-value": "9.8 ms",
        "freshness-value": "412 ms",
        "lag-detail": "most in join: 120",
    } == {
        name: text_of(dom, name)
        for name in (
            *("project", "connection-text", "api-text", "worker-text", "serving-release"),
            *("serving-detail", "auc-value", "auc-detail", "loss-value", "loss-detail"),
            *("latency-value", "freshness-value", "lag-detail"),
        )
    }
    assert "Running AUC, now: service 0.7812, frozen release 0.7741." in dom
    assert "1 swap; listed below" in dom
    assert dom.count("<canvas") == 6
    assert dom.count('aria-controls="case-') == len(FIXTURE["bad_cases"])
    assert "2013-05-01|UA|1545|EWR" in dom
    assert "confident wrong" in dom


def test_page_shows_the_quality(tmp_path: Path) -> None:
    """Buckets, the young ones hollow, slices, roles, experts and drift, as in the fixture."""
    with serving(lambda: JSONResponse(FIXTURE)) as url:
        dom, console = render(url, tmp_path)
    quality = FIXTURE["worker"]["quality"]
    assert [] == console
    hollow = sum(bucket["young"] or bucket["partial"] for bucket in quality["buckets"])
    assert 0 < hollow < len(quality["buckets"])
    assert dom.count('<circle class="service young"') == hollow
    assert dom.count('<circle class="service"') == len(quality["buckets"]) - hollow
    assert dom.count('class="share young"') == sum(b["young"] for b in quality["buckets"])
    young = sum(bucket["young"] for bucket in quality["buckets"])
    assert f"Log-loss by time of prediction, {len(quality['buckets'])} buckets, {young}" in dom
    carriers = [each for each in quality["slices"] if each["field"] == "carrier"]
    rows = re.search(r'id="slices-rows">(.*?)</tbody>', dom).group(1)
    assert len(carriers) == rows.count("<tr>")
    assert "all others" in rows
    assert f"{quality['sliding']['roles']['release']['log_loss']:.4f}" in dom
    assert "9 of 10 come within 10 hours" in text_of(dom, "quality-note")
    assert dom.count('class="weight"') == len(quality["experts"])
    assert quality["drift"][0]["message"] in dom
    assert dom.count('data-state="began"') == 2


def test_the_fixtures_jobs_are_the_documents() -> None:
    """What the page reads of jobs is what a scheduler writes."""
    assert JOBS == msgspec.to_builtins(msgspec.convert(JOBS, JobsReport))


def test_page_shows_the_jobs(tmp_path: Path) -> None:
    """What runs and for how long, why the others wait, and what exit codes meant."""
    with serving(lambda: JSONResponse(FIXTURE), JOBS) as url:
        dom, console = render(url, tmp_path)
    assert [] == console
    assert "1 running, 3 waiting" == text_of(dom, "jobs-note")
    rows = re.search(r'id="jobs-rows"[^>]*>(.*?)</tbody>', dom, re.DOTALL).group(1)
    lines = [re.sub(r"<[^>]+>", "|", row) for row in rows.split("</tr>")[:-1]]
    texts = [re.sub(r"\|+", "|", line).strip("|") for line in lines]
    assert "running|12| flights: retrain --json|production|drift|for 13 min|" in texts[0]
    assert "process 4711; cores 0, 1; h100 0" in texts[0]
    assert "quota of flights: needs 2 cores, 1 free" in texts[2]
    assert re.search(r"tried again after: failed, until \d\d:\d\d:\d\d", texts[3])
    assert texts[4].endswith("refused by the gate: the champion stays, exit code 3")
    assert texts[5].startswith("failed|9|")
    assert texts[5].endswith("failed, exit code 1 (attempt 3)")
    assert texts[6].endswith("cancelled by an operator")


def test_page_shows_the_challengers(tmp_path: Path) -> None:
    """How each compares with the champion; without any the section is not there."""
    arm = {
        "release": "r0003", "role": "challenger", "share": 0.1, "answered": 90, "failed": 2,
        "examples": 900, "blocks": 12, "left_out": 1, "since_ms": 1, "until_ms": None,
        "loss": 0.41, "champion_loss": 0.43, "difference": 0.02, "low": -0.01, "high": 0.05,
        "newest": 900, "measures": {}, "champion_measures": {}, "behind": 7,
        "waiting": "12 of 30 blocks",
    }  # fmt: skip
    trial = {"champion": "r0002", "now_ms": 1367366400000, "arms": [arm]}
    told = FIXTURE | {"worker": FIXTURE["worker"] | {"trial": trial}}
    with serving(lambda: JSONResponse(told)) as url:
        dom, console = render(url, tmp_path / "some")
    assert [] == console
    assert "Beside champion r0002, up to 1 May 2013" in text_of(dom, "trial-note")
    for expected in (
        "canary, 10 %",
        "900 in 12 blocks",
        "0.4100, champion 0.4300",
        "+0.0200 (−0.0100 to +0.0500)",
        "7 examples to learn; 2 not scored",
    ):
        assert expected in dom
    with serving(lambda: JSONResponse(FIXTURE)) as url:
        dom, _ = render(url, tmp_path / "none")
    assert re.search(r'<section id="trial"[^>]* hidden', dom)


def test_page_says_when_no_scheduler_tells_of_jobs(tmp_path: Path) -> None:
    """None ever, or none for a while."""
    with serving(lambda: JSONResponse(FIXTURE)) as url:
        dom, _ = render(url, tmp_path / "none")
    assert "No scheduler has told of itself." == text_of(dom, "jobs-note")
    silent = JOBS | {"seen_ms": FIXTURE["now_ms"] - 600_000}
    with serving(lambda: JSONResponse(FIXTURE), silent) as url:
        dom, _ = render(url, tmp_path / "silent")
    assert "The scheduler was last heard of 10 min ago." == text_of(dom, "jobs-note")


def test_page_shows_errors_of_numbers(tmp_path: Path) -> None:
    """A regression has MAE and RMSE where others have AUC and log-loss."""
    measures = {"mae": 3.5, "rmse": 4.25}
    roles = {"service": measures, "release": {"mae": 4.0, "rmse": 5.0}}
    status = json.loads(json.dumps(FIXTURE))
    for point in status["worker"]["series"]:
        del point["auc"], point["log_loss"]
        point |= {name: {role: roles[role][name] for role in roles} for name in measures}
    quality = status["worker"]["quality"]
    quality["task"] = "regression"
    for part in (quality["sliding"], quality["decayed"], *quality["buckets"], *quality["slices"]):
        part["roles"] = roles
    with serving(lambda: JSONResponse(status)) as url:
        dom, console = render(url, tmp_path)
    assert [] == console
    assert ("MAE", "3.5000", "RMSE", "4.2500", "−0.7500 vs release") == tuple(
        text_of(dom, name)
        for name in ("auc-title", "auc-value", "loss-title", "loss-value", "loss-detail")
    )
    assert "Running MAE, now: service 3.5000" in dom
    assert "RMSE by time of prediction" in dom


def test_page_says_why_learning_is_paused(tmp_path: Path) -> None:
    """Whoever looks at night sees the limit, the producer and what was put aside."""
    status = json.loads(json.dumps(FIXTURE))
    why = "producer_loss (producer liar): found a mean loss 0.9 above; allowed: at most 0.5 above"
    status["worker"]["paused"] = {
        "reason": "producer_loss", "message": why, "since_ms": 1, "quarantined": 1200,
    }  # fmt: skip
    with serving(lambda: JSONResponse(status)) as url:
        dom, console = render(url, tmp_path)
    assert [] == console
    assert f"Learning paused: {why}; 1,200 put aside" == text_of(dom, "worker-text")


def test_page_says_what_it_waits_for(tmp_path: Path) -> None:
    """Before anything has happened every part of the page says what it waits for."""
    with serving(lambda: JSONResponse(EMPTY)) as url:
        dom, console = render(url, tmp_path)
    assert [] == console
    assert text_of(dom, "serving-detail") == "Waiting for the first release"
    assert text_of(dom, "auc-detail") == "Waiting for the first label"
    assert text_of(dom, "worker-text") == "Waiting for the worker"
    assert dom.count('data-empty="true"') == 7
    assert text_of(dom, "now-empty") == "Waiting for the first labels"
    assert re.search(r'<section id="experts"[^>]* hidden=""', dom)
    assert re.search(r'<table id="bad-table"[^>]* hidden=""', dom)


def test_page_reconnects_less_and_less_often(tmp_path: Path) -> None:
    """While the api fails the page says so, and doubles the wait between its tries."""
    asked = []

    def refuse() -> Response:
        asked.append(time.monotonic())
        return Response("starting", 503)

    with serving(refuse) as url:
        dom, _ = render(url, tmp_path)
    assert text_of(dom, "connection-text") == "Reconnecting"
    assert text_of(dom, "api-text") == "API unreachable"
    # In four seconds of the page's time: at 0, 1 and 3 s.
    assert 2 <= len(asked) <= 3


def test_page_asks_for_a_key(tmp_path: Path) -> None:
    """Where the api wants to know who asks, the page does; elsewhere it does not."""
    shown = re.compile(r'<dialog id="key"[^>]* open=""')
    for status, asks in ((401, True), (403, True), (503, False)):
        with serving(lambda code=status: Response("", code)) as url:
            dom, _ = render(url, tmp_path / str(status))
        assert asks == bool(shown.search(dom))
