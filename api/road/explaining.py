"""Say of scores what each feature added to them, in a thread: it takes longer than scoring."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from api.adopting.model import Vectors
from api.road.answers import Explanation
from api.road.panel import Source
from tidemill.errors import InputError

EXPLANATION = "explanation"
"""What an answer says it lacks where an explanation was asked for and there is none."""
_LOG = structlog.get_logger()


def explain(
    sources: Sequence[Source], matrix: Vectors, names: Sequence[str]
) -> list[Explanation | None]:
    """What the features (of these names) add in each row, by the model that answered it.

    None where that model cannot be explained, such as a canary of another kind than the champion,
    or where explaining it failed: what was scored is answered all the same.
    """
    found: list[Explanation | None] = [None] * len(sources)
    for source in {id(source.model): source for source in sources}.values():
        rows = [row for row, each in enumerate(sources) if each.model is source.model]
        try:
            told = _by_model(source, matrix[rows], names)
        except InputError:  # a model that cannot be explained; the answer says so
            continue
        except Exception as error:
            _LOG.exception("explanation_failed", release=source.version.release, exc_info=error)
            continue
        for row, each in zip(rows, told, strict=True):
            found[row] = each
    return found


def _by_model(source: Source, matrix: Vectors, names: Sequence[str]) -> list[Explanation]:
    from learners.explain.contributions import contributions, methods

    by = methods(source.model)
    told = contributions(source.model, matrix).tolist()
    return [Explanation(base, dict(zip(names, added, strict=True)), by) for *added, base in told]
