"""The result file of a benchmark."""

from bench._result import result


def test_a_measure_is_the_median_of_its_samples() -> None:
    """Values are medians; samples, ratios and reasons are kept."""
    found = result(
        "some", {"read": ("us", [3.0, 1.0, 2.0])}, equal=True, ratios={"peer": 2.345},
        skipped={"other": "why"}, versions={"numpy": "2"},
    )  # fmt: skip
    expected = {"read": {"value": 2.0, "unit": "us", "samples": [3.0, 1.0, 2.0]}}
    kept = (found["measures"], found["ratios"], found["skipped"])
    assert (expected, {"peer": 2.35}, {"other": "why"}) == kept


def test_the_fields_are_those_of_the_design() -> None:
    """A reader finds the same fields in every file."""
    found = result("some", {}, equal=True, ratios={}, skipped={}, versions={})
    expected = "answers_equal benchmark machine measures ratios skipped versions"
    assert expected.split() == sorted(found)
