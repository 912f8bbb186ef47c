"""The Study's keys: all or none, one for each role, covered by every digest that a run pins."""

import pytest
from pydantic import ValidationError

from fedgenome.errors import SpecError
from fedgenome.study import Plan, Study

KEYS = [f"{number:064x}" for number in range(10)]
SITES = {"north": KEYS[0], "south": KEYS[1]}


def a_study(**changes):
    return Study.model_validate(
        {
            "name": "small",
            "schema": {"genes": ["A"], "labels": ["x"], "high": 4.0},
            "methods": [{"kind": "marginals"}],
            "privacy": {"trust": "none"},
            "donors_bound": 60,
            "quorum": 2,
            "roster": [{"name": name, "cap": 40} for name in SITES],
            **changes,
        }
    )


KEYED = a_study().with_keys(SITES, KEYS[2:5], KEYS[5])


def test_keys_are_named_and_taken_away_again():
    assert KEYED.keys.keys == SITES and KEYED.keys.parties == tuple(KEYS[2:5]) and KEYED.keys.dealer == KEYS[5]
    assert KEYED.keyed and not a_study().keyed
    assert KEYED.without_keys() == a_study()


def test_keys_survive_the_way_to_a_site():
    assert Study.model_validate(KEYED.model_dump(mode="json", by_alias=True)) == KEYED


@pytest.mark.parametrize(
    ("sites", "parties", "dealer"),
    [
        (SITES | {"north": KEYS[9]}, KEYS[2:5], KEYS[5]),
        (SITES, [KEYS[9], *KEYS[3:5]], KEYS[5]),
        (SITES, [KEYS[3], KEYS[2], KEYS[4]], KEYS[5]),
        (SITES, KEYS[2:5], ""),
    ],
)
def test_every_key_moves_the_digests_that_are_pinned(sites, parties, dealer):
    other = a_study().with_keys(sites, parties, dealer)
    assert other.digest != KEYED.digest
    assert other.terms(Plan()).roster != KEYED.terms(Plan()).roster
    assert other.terms(Plan()).digest != KEYED.terms(Plan()).digest


@pytest.mark.parametrize(
    ("sites", "parties", "rule"),
    [
        (SITES, KEYS[2:4], "3 party keys"),
        (SITES | {"south": ""}, KEYS[2:5], "64 hex digits"),
        (SITES | {"south": KEYS[0]}, KEYS[2:5], "another key"),
        (SITES, [KEYS[0], *KEYS[3:5]], "another key"),
        (SITES, ["AB" * 32, *KEYS[3:5]], "64 hex digits"),
        ({"north": KEYS[0]}, KEYS[2:5], "every site"),
    ],
)
def test_a_role_without_a_key_of_its_own_is_refused(sites, parties, rule):
    with pytest.raises(SpecError, match=rule):
        a_study().with_keys(sites, parties)


@pytest.mark.parametrize("changes", [{"dealer": KEYS[5]}, {"parties": KEYS[2:5]}, {"parties": KEYS[2:6]}])
def test_some_keys_without_the_others_are_refused(changes):
    with pytest.raises(ValidationError):
        a_study(**changes)
