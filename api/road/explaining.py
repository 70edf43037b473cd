"""Say of scores what each feature added to them, in a thread: it takes longer than scoring."""

from __future__ import annotations

from collections.abc import Sequence

from api.adopting.model import Vectors
from api.road.answers import Explanation
from api.road.panel import Source


def explain(sources: Sequence[Source], matrix: Vectors, names: Sequence[str]) -> list[Explanation]:
    """What the features (of these names) add in each row, by the model that answered it.

    Raises InputError for a model that cannot be explained.
    """
    from learners.explain.contributions import contributions, methods

    found: dict[int, Explanation] = {}
    for source in {id(source.model): source for source in sources}.values():
        rows = [row for row, each in enumerate(sources) if each.model is source.model]
        told = contributions(source.model, matrix[rows]).tolist()
        by = methods(source.model)
        for row, (*added, base) in zip(rows, told, strict=True):
            found[row] = Explanation(base, dict(zip(names, added, strict=True)), by)
    return [found[row] for row in range(len(sources))]
