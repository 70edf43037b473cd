"""Ages are counted by entity, whichever declaration they were noted for."""

import numpy as np

from api.measuring.ages import FeatureAges


def test_ages_are_counted_by_entity():
    """Milliseconds become seconds; an entity never seen is counted apart."""
    ages = FeatureAges()
    note = ages.of(("card", "shop"))
    note(np.array([[500.0, np.nan], [120_000.0, 2_000.0]]))
    note(np.array([[700.0, np.nan]]))
    known = ages.known()
    buckets, total = known["card"].histogram()
    assert [("0.1", 0.0), ("1.0", 2.0), ("10.0", 2.0), ("60.0", 2.0), ("600.0", 3.0)] == buckets[:5]
    assert 121.2 == round(total, 6)
    assert (1, {"card": 0, "shop": 2}) == (known["shop"].count(), dict(ages.unknown))


def test_two_declarations_share_their_entities():
    """After another declaration began to serve, both note into the same distribution."""
    ages = FeatureAges()
    ages.of(("card", "shop"))(np.array([[1.0, 2.0]]))
    ages.of(("card",))(np.array([[3.0]]))
    assert (2, 1) == (ages.known()["card"].count(), ages.known()["shop"].count())


def test_an_entity_without_requests_has_its_series():
    """A scrape before the first request already shows zeros, so that a rate can be taken."""
    ages = FeatureAges()
    ages.of(("card",))
    assert (0, {"card": 0}) == (ages.known()["card"].count(), dict(ages.unknown))


def test_another_declaration_may_begin_while_ages_are_counted():
    """A thread builds what serves next; the count goes on."""
    ages = FeatureAges()

    class Waiting(list):
        """Noted ages; while they are counted another declaration comes."""

        def clear(self):
            """All of them, and then the other declaration."""
            super().clear()
            ages.of(("card", "shop"))

    ages.of(("card",))
    ages._waiting["card",] = Waiting([np.array([[1_000.0]])])
    assert 1 == ages.known()["card"].count()
