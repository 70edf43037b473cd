"""The page about quality, drawn from results."""

from xml.etree import ElementTree

from bench._quality_page import draw, intervals, months, table


def measure(value: float) -> dict:
    """A measure with an interval around it."""
    return {"value": value, "interval": [value - 0.01, value + 0.01], "rows": 1_000}


def test_the_table_has_a_row_for_each_method() -> None:
    """The mixture's lead is how much lower its log-loss is."""
    kinds = ("auc", "log_loss", "accuracy")
    measures = {f"elec/{name}/{kind}": measure(0.5) for name in ("mixture", "vw") for kind in kinds}
    measures["elec/mixture-vw/log_loss"] = measure(-0.1)
    rows = table(measures).splitlines()[2:]
    assert (2, True, "+0.1000 (+0.0900 to +0.1100)") == (
        len(rows),
        "**mixture**" in rows[0],
        rows[1].split("|")[-2].strip(),
    )


def test_a_plot_is_well_formed() -> None:
    """It has a line for each method and a label for each place."""
    root = ElementTree.fromstring(draw({"a": [0.7, 0.8], "b": [0.6, 0.9]}, ["x", "y"], "title"))
    space = "{http://www.w3.org/2000/svg}"
    assert (2, "title") == (
        len(root.findall(f"{space}polyline")),
        root.findtext(f"{space}title"),
    )


def test_without_results_there_is_nothing_to_draw() -> None:
    """No measures, no lines."""
    assert (([], {}), ([], {})) == (months({}), intervals({}, "clicks"))
