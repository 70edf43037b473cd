"""Time travel over HTTP: a past prediction rebuilt by a process of its own, beside the scoring."""

from __future__ import annotations

import asyncio
import fcntl
import math
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from api.http.call import Call
from api.http.errors import Problem, Refused, refuse_missing
from api.resources.predictions import prediction_id

LIMIT_SECONDS = 120.0
_GRACE_SECONDS = 5  # then it ends by itself, should this process be gone
_NICE = ("nice", "-n", "15")
_FIRST_TO_DIE = "1000"  # when the memory is full: scoring is worth more than an answer about it
_ANSWERED = (0, 2, 6)  # exit codes of `tidemill replay` that come with an answer
_SAID_BYTES = 2_000
_LOG = structlog.get_logger()


class _Printed(msgspec.Struct):
    """What `tidemill replay --json` prints."""

    predictions: list[msgspec.Raw]
    unknown: list[str]


_DECODER = msgspec.json.Decoder(_Printed)


class ReplayProcess:
    """Runs `tidemill replay` for one prediction at a time, niced and within a time.

    What a replay that ran out of time has learned again is kept in the home, so that the next one
    gets further.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        lock: Path,
        limit_seconds: float = LIMIT_SECONDS,
    ) -> None:
        """`command` is `tidemill replay FILE` as a command line; `lock` is held while it runs."""
        self._command, self._environment = tuple(command), dict(environment)
        self._lock, self._limit_seconds = lock, limit_seconds

    async def __call__(self, prediction: str) -> bytes:
        """The replay as JSON.

        Raises Refused: 404 for a prediction that is not archived, 503 while another is replayed, by
        whichever process of the api, when the time is over, and when it failed.
        """
        with self._alone():
            process = await self._started(prediction)
            try:
                async with asyncio.timeout(self._limit_seconds):
                    printed, said = await process.communicate()
            except TimeoutError:
                found = f"nothing within {self._limit_seconds:g} s"
                allowed = "a second try, which gets further, or `tidemill replay`"
                raise _refuse("replay_too_long", found, allowed) from None
            finally:
                await _end(process)
        return _answer(prediction, process.returncode, printed, said)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            with open(self._lock, "ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError:
            raise _refuse("replay_busy", "another replay", "one at a time") from None
        except OSError as error:
            raise _refuse("replay_failed", str(error), "a home to write to") from error

    async def _started(self, prediction: str) -> Process:
        seconds = str(math.ceil(self._limit_seconds) + _GRACE_SECONDS)
        options = ("--json", "--seconds", seconds, "--", prediction)
        try:
            # A session of its own: Ctrl-C at the api is not for it.
            process = await asyncio.create_subprocess_exec(
                *_NICE, *self._command, *options, env=self._environment, stdin=DEVNULL,
                stdout=PIPE, stderr=PIPE, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise _refuse("replay_failed", str(error), "a process that can be started") from error
        with suppress(OSError):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text(_FIRST_TO_DIE)
        return process


class ReplayRoute:
    """Answers `GET /v1/predictions/{id}/replay`."""

    def __init__(self, replay: Callable[[str], Awaitable[bytes]]) -> None:
        self._replay = replay

    async def look(self, call: Call) -> bytes:
        """The prediction that the call's path names, replayed. Raises Refused."""
        return await self._replay(prediction_id(call.path.rsplit("/", 2)[1]))


async def _end(process: Process) -> None:
    """Nothing is left behind, also when nobody waits any more."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _answer(prediction: str, code: int | None, printed: bytes, said: bytes) -> bytes:
    try:
        # What the project file prints itself comes before.
        found = _DECODER.decode(printed.strip().rpartition(b"\n")[2])
    except msgspec.DecodeError:
        found = None
    if found is None or code not in _ANSWERED:
        words = said[-_SAID_BYTES:].decode(errors="replace").strip()
        _LOG.error("replay_failed", prediction_id=prediction, exit_code=code, said=words)
        raise _refuse("replay_failed", f"exit code {code}", "see the api's log")
    if found.unknown or not found.predictions:
        allowed = "one that is archived, which takes a few seconds"
        raise refuse_missing("unknown_prediction", "id", prediction, allowed)
    return bytes(found.predictions[0])


def _refuse(cause: str, found: str, allowed: str) -> Refused:
    return Refused(503, Problem(cause, "replay", found, allowed))
