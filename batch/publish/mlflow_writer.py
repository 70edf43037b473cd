"""The process that talks to MLflow: reads a task from stdin, says line by line what it has done.

What is there already, from an attempt that was ended half way, is found by its tags and gone on
with.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import msgspec

from batch.publish.mlflow_runs import Queued, Recorded, Report, Task

RUN, STARTED, MANIFEST = "tidemill.run", "tidemill.started_ms", "tidemill.manifest_sha256"
RELEASE, ROLE, OUTCOME = "tidemill.release", "tidemill.role", "tidemill.outcome"
_ENVIRONMENT = {
    # A server that is away is away: the next retrain tries again.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_LONGEST_PARAMETER, _MOST_IN_A_CALL = 6_000, 100


class Writer:
    """Writes to one MLflow; raises what its client raises."""

    def __init__(self, client: Any, task: Task) -> None:
        self._client, self._task = client, task

    def record(self, queued: Queued) -> Recorded:
        """One retrain as a run, and its release as a version."""
        run = self._run(queued)
        self._log(run, queued)
        for path in queued.artifacts:
            if Path(path).is_file():
                self._client.log_artifact(run, path, "release")
        status = "FINISHED" if queued.outcome != "failed" else "FAILED"
        self._client.set_terminated(run, status, queued.ended_ms or None)
        version = self._version(run, queued) if queued.manifest else ""
        return Recorded(queued.run, run, version)

    def _run(self, queued: Queued) -> str:
        experiment = self._experiment()
        wanted = f"tags.`{RUN}` = '{queued.run}' and tags.`{STARTED}` = '{queued.started_ms}'"
        found = self._client.search_runs([experiment], filter_string=wanted)
        if found:
            return str(found[0].info.run_id)
        tags = {**queued.tags, RUN: queued.run, STARTED: str(queued.started_ms)}
        tags |= {OUTCOME: queued.outcome, RELEASE: queued.release}
        made = self._client.create_run(
            experiment, start_time=queued.started_ms, run_name=queued.run, tags=tags
        )
        return str(made.info.run_id)

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._task.project)
        if found is not None:
            return str(found.experiment_id)
        # A server knows where it keeps artifacts; beside a database of ours nobody does.
        place = None if self._task.uri.startswith("http") else self._task.artifacts
        return str(self._client.create_experiment(self._task.project, artifact_location=place))

    def _log(self, run: str, queued: Queued) -> None:
        from mlflow.entities import Metric, Param

        parameters = [
            Param(name, value[:_LONGEST_PARAMETER]) for name, value in queued.parameters.items()
        ]
        metrics = [
            Metric(name, value, queued.ended_ms, 0) for name, value in queued.metrics.items()
        ]
        for first in range(0, max(len(parameters), len(metrics)), _MOST_IN_A_CALL):
            part = slice(first, first + _MOST_IN_A_CALL)
            self._client.log_batch(run, metrics[part], parameters[part])

    def _version(self, run: str, queued: Queued) -> str:
        found = self._versions().get(queued.manifest)
        if found is not None:
            return str(found.version)
        self._ensure_model()
        made = self._client.create_model_version(
            self._task.project,
            f"runs:/{run}/release",
            run,
            tags={MANIFEST: queued.manifest, RELEASE: queued.release, RUN: queued.run},
        )
        return str(made.version)

    def _ensure_model(self) -> None:
        if not self._client.search_registered_models(f"name = '{self._task.project}'"):
            self._client.create_registered_model(self._task.project)

    def _versions(self) -> dict[str, Any]:
        """The registered versions by the digest of their release's manifest."""
        found = self._client.search_model_versions(f"name = '{self._task.project}'")
        return {version.tags[MANIFEST]: version for version in found if MANIFEST in version.tags}

    def keep_in_step(self) -> None:
        """Aliases and roles as the journal has them."""
        versions, name = self._versions(), self._task.project
        for digest, version in versions.items():
            role = self._task.roles.get(digest, "deleted")
            if version.tags.get(ROLE) != role:
                self._client.set_model_version_tag(name, version.version, ROLE, role)
        if not versions:
            return
        has = self._client.get_registered_model(name).aliases
        for alias, digest in self._task.aliases.items():
            wanted = versions.get(digest)
            if wanted is not None and str(has.get(alias)) != str(wanted.version):
                self._client.set_registered_model_alias(name, alias, wanted.version)
            elif wanted is None and alias in has:
                self._client.delete_registered_model_alias(name, alias)


def main() -> None:
    """Do the task on stdin; every line on stdout is a `Report`."""
    warnings.simplefilter("ignore")  # what MLflow and its libraries say of each other
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        from mlflow import MlflowClient

        writer = Writer(MlflowClient(tracking_uri=task.uri, registry_uri=task.uri), task)
        for queued in task.queued:
            _say(Report(recorded=writer.record(queued)))
        writer.keep_in_step()
        _say(Report(aliases=True))
    except ImportError as error:
        _say(Report(error=f"{error}; allowed: `pip install 'tidemill[mlflow]'`"))
    except Exception as error:  # whatever its client raises, the release is published
        _say(Report(error=f"{type(error).__name__}: {error}"[:500]))


def _say(report: Report) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()
