"""Judges before anything is published: candidate against champion on the newest data."""

from __future__ import annotations

from batch.datasets.dataset import Dataset
from batch.gate import verdicts
from batch.gate.case import Case
from batch.gate.champion import Champion
from batch.gate.evidence import Evidence
from batch.gate.report import Findings, GateReport, Refusal
from batch.gate.split import Split, older_and_newer
from learners.learner import Frozen
from learners.release import ModelFile, read_model
from tidemill.declaration import Project
from tidemill.errors import ArtifactError
from tidemill.schema import schema_of


def refused_before_training(
    project: Project, data: Dataset, champion: Champion | None
) -> GateReport | None:
    """Too little to learn from or to judge on, so that training would be in vain; else None."""
    split = older_and_newer(project, data)
    refusals = verdicts.too_little(project, split, champion)
    return _report(split, champion, refusals, Findings()) if refusals else None


def judge(
    project: Project,
    data: Dataset,
    candidate: ModelFile,
    champion: Champion | None,
    evidence: Evidence | None = None,
) -> GateReport:
    """Serve a candidate that was trained on `older_and_newer(...).older` over the newer, compare.

    The candidate predicts and learns as it would in service. The champion's scores are those it
    really answered; for rows that nobody answered they are its frozen model's, and only on rows it
    was not trained on. Without a champion the candidate is compared with the prior. Every check is
    made, so that a refusal lists all its reasons. Raises ArtifactError for bytes that are no model
    of the project.
    """
    split = older_and_newer(project, data)
    refusals = verdicts.too_little(project, split, champion)
    frozen = _read(candidate, project)
    if refusals:
        return _report(split, champion, refusals, Findings())
    findings = Case(project, split, champion, evidence or Evidence()).findings(
        frozen, len(candidate)
    )
    return _report(split, champion, verdicts.refusals(project, findings), findings)


def _read(candidate: ModelFile, project: Project) -> Frozen:
    frozen, names = read_model(candidate, project), schema_of(project).names
    if tuple(frozen.features) != names or frozen.task != project.task:
        found = f"{len(frozen.features)} features for {frozen.task.kind}"
        differing = [name for name in frozen.features if name not in names]
        found += f", such as {differing[0]}" if differing else ""
        raise ArtifactError(
            f"model {candidate.name}: found {found}; "
            f"allowed: the project's {len(names)} in their order, for {project.task.kind}"
        )
    return frozen


def _report(
    split: Split, champion: Champion | None, refusals: list[Refusal], findings: Findings
) -> GateReport:
    return GateReport(
        rows=len(split.older) + len(split.newer),
        training_rows=len(split.older),
        holdout_rows=split.holdout_rows,
        compared_rows=int(split.compared(champion).sum()),
        champion_release=champion.release if champion else None,
        refusals=tuple(refusals),
        findings=findings,
        holdout_from_ms=split.start_ms,
        holdout_to_ms=split.end_ms,
    )
