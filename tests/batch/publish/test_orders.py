"""An operator's orders are carried out whole, refused with what stands against them, and kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from published import SCHEMA, release

from batch.publish.orders import Order, challenge, promote, retire, roll_back
from tidemill.errors import ArtifactError, InputError
from tidemill.registry import Registry
from tidemill.roles import RoleChange

ORDER = Order("ann", 9_000, "it is slow")
FORCE = Order("ann", 9_000, force=True)


@pytest.fixture
def three(registry: Registry) -> Registry:
    """Three releases, the last of them champion."""
    for name in ("r0001", "r0002", "r0003"):
        release(registry, name)
    return registry


def roles(registry: Registry) -> list[str | None]:
    """What the three are."""
    standings = registry.standings()
    return [standings.role(name) for name in ("r0001", "r0002", "r0003")]


def test_promoting_an_older_release(three: Registry) -> None:
    """It is champion, and the journal says who wanted it and why."""
    change = promote(three, "r0001", ORDER)
    assert RoleChange("r0001", "promoted", SCHEMA, 9_000, "ann", "it is slow") == change
    assert ["champion", "former", "former"] == roles(three)
    assert change == three.standings().changes[-1]


def test_promoting_the_champion_makes_it_an_order(three: Registry) -> None:
    """What was only published could still be given up; the second time there is nothing to do."""
    assert promote(three, "r0003", ORDER) is not None
    assert promote(three, "r0003", ORDER) is None


def test_rolling_back_goes_to_the_champion_before(three: Registry) -> None:
    """Again and again, until there is none."""
    for expected in (["former", "champion", "rolled_back"],
                     ["champion", "rolled_back", "rolled_back"]):  # fmt: skip
        assert roll_back(three, SCHEMA, None, ORDER) is not None
        assert expected == roles(three)
    with pytest.raises(InputError, match="found no champion before this one"):
        roll_back(three, SCHEMA, None, ORDER)


def test_rolling_back_to_a_named_release(three: Registry) -> None:
    """Over one in between, and back to what was rolled back."""
    change = roll_back(three, SCHEMA, "r0001", ORDER)
    assert ("r0003", ["champion", "former", "rolled_back"]) == (change.instead_of, roles(three))
    assert roll_back(three, SCHEMA, "r0001", ORDER) is None
    roll_back(three, SCHEMA, "r0003", ORDER)
    assert ["rolled_back", "former", "champion"] == roles(three)


def test_a_retired_release_needs_force(three: Registry) -> None:
    """It never serves again by itself; who forces it is in the journal."""
    assert retire(three, SCHEMA, "r0001", ORDER) is not None
    assert retire(three, SCHEMA, "r0001", ORDER) is None
    with pytest.raises(InputError, match="r0001: found retired; allowed: another role, or --force"):
        promote(three, "r0001", ORDER)
    with pytest.raises(InputError, match="r0001: found retired; allowed: former or rolled_back"):
        roll_back(three, SCHEMA, "r0001", ORDER)
    assert ["retired", "former", "champion"] == roles(three)
    assert promote(three, "r0001", FORCE).forced
    assert ["champion", "former", "former"] == roles(three)


def test_what_answers_is_not_retired(three: Registry) -> None:
    """Another must take its place first."""
    with pytest.raises(InputError, match="r0003: found champion; allowed: another role"):
        retire(three, SCHEMA, "r0003", FORCE)
    roll_back(three, SCHEMA, None, ORDER)
    assert retire(three, SCHEMA, "r0003", ORDER) is not None


def test_the_champion_of_a_schema_that_serves_no_more_can_be_retired(three: Registry) -> None:
    """After the project has gone on to other features."""
    release(three, "r0004", schema="f" * 12)
    assert retire(three, "f" * 12, "r0003", ORDER) is not None
    with pytest.raises(InputError, match="champion"):
        retire(three, "f" * 12, "r0004", ORDER)


def test_a_challenger_is_promoted_not_rolled_back_to(three: Registry) -> None:
    """It has never been champion."""
    release(three, "r0004", role="challenger")
    with pytest.raises(InputError, match="r0004: found challenger"):
        roll_back(three, SCHEMA, "r0004", ORDER)
    promote(three, "r0004", ORDER)
    assert "r0004" == three.champion()


def test_a_release_that_does_not_exist(three: Registry) -> None:
    """Nothing is entered, and the message says where the names are."""
    for give in (lambda: promote(three, "r0009", ORDER), lambda: retire(three, SCHEMA, "r9", ORDER),
                 lambda: roll_back(three, SCHEMA, "r0009", ORDER)):  # fmt: skip
        with pytest.raises(InputError, match="models list"):
            give()
    assert 3 == len(three.standings().changes)


def test_a_damaged_release_is_not_promoted(three: Registry) -> None:
    """The champion stays."""
    (three.folder / "r0001" / "model.txt").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match=r"r0001: model\.txt: sha256"):
        promote(three, "r0001", ORDER)
    assert "r0003" == three.champion()


def test_orders_at_once_are_carried_out_one_after_the_other(three: Registry) -> None:
    """None is lost, and the last one counts."""
    names = ["r0001", "r0002"] * 10

    def give(name: str) -> None:
        promote(Registry(three.folder.parents[1], "shop"), name, ORDER)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(give, names))
    assert three.standings().changes[-1].release == three.champion()


def test_an_order_in_a_home_from_before_the_journal(three: Registry, tmp_path: Path) -> None:
    """What was there is entered first."""
    (three.folder / "roles.jsonl").unlink()
    roll_back(three, SCHEMA, None, ORDER)
    assert ["former", "champion", "rolled_back"] == roles(three)


def test_a_release_is_set_beside_the_champion(three: Registry) -> None:
    """To be scored, or to answer a share that can be changed."""
    change = challenge(three, "r0001", 0.1, ORDER)
    assert ("challenger", 0.1, "ann") == (change.action, change.share, change.by)
    assert ["challenger", "former", "champion"] == roles(three)
    assert challenge(three, "r0001", 0.1, ORDER) is None
    assert challenge(three, "r0001", 0.0, ORDER) is not None
    assert (["r0001"], 0.0) == (three.standings().challengers(), three.standings().share("r0001"))


def test_the_champion_keeps_a_share(three: Registry) -> None:
    """What several challengers answer together is less than all."""
    challenge(three, "r0001", 0.6, ORDER)
    with pytest.raises(InputError, match=r"share: found 0\.4; allowed: .* less than 0\.4"):
        challenge(three, "r0002", 0.4, ORDER)
    assert challenge(three, "r0002", 0.3, ORDER) is not None
    assert challenge(three, "r0001", 0.65, ORDER) is not None


def test_what_answers_or_was_retired_is_no_challenger(three: Registry) -> None:
    """The second may be forced to be."""
    with pytest.raises(InputError, match="r0003: found champion"):
        challenge(three, "r0003", 0.0, ORDER)
    retire(three, SCHEMA, "r0001", ORDER)
    with pytest.raises(InputError, match="r0001: found retired"):
        challenge(three, "r0001", 0.0, ORDER)
    change = challenge(three, "r0001", 0.0, FORCE)
    assert change is not None and change.forced
