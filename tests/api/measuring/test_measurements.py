"""What is counted takes a bounded amount of memory, however long a process runs."""

from api.measuring.measurements import CHANGES, MOST_ARMS, Measurements, SwapPoint


def test_only_the_newest_releases_are_kept():
    """A release each night for years: time, answers and failures of the old ones are forgotten."""
    measurements = Measurements()
    for number in range(100):
        release = f"r{number:04d}"
        measurements.arm_seconds[release].add(0.001)
        measurements.arm_answers[release, "champion"] += 1
        measurements.arm_failures[release] += 1
        measurements.tick(1_000 * number, "score")
    newest = [f"r{number:04d}" for number in range(100 - MOST_ARMS, 100)]
    assert newest == list(measurements.arm_seconds)
    assert newest == [release for release, _ in measurements.arm_answers]
    assert newest == list(measurements.arm_failures)


def test_a_tick_counts_what_was_only_noted():
    """Nothing waits in lists for longer than from one tick to the next."""
    measurements = Measurements()
    measurements.stage_seconds["model"].add(0.001)
    measurements.arm_seconds["r0001"].add(0.001)
    measurements.group_rows.add(3)
    measurements.tick(1_000, "score")
    for each in measurements._distributions():
        assert [] == each._new


def test_changes_of_the_release_are_remembered_up_to_a_limit():
    """Who has been told of so many gets those after them, if they are still remembered."""
    measurements = Measurements()
    for number in range(CHANGES + 10):
        measurements.change_release(SwapPoint(number, "r0001", 0))
    assert CHANGES + 10 == measurements.changes_made
    assert [] == measurements.changes_since(CHANGES + 10)
    since = measurements.changes_since(CHANGES + 7)
    assert [CHANGES + 7, CHANGES + 8, CHANGES + 9] == [each.time_ms for each in since]
    assert 10 == measurements.changes_since(0)[0].time_ms
