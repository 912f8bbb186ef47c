"""Roles killed or stopped at any point of a run: a clean end in time, no process left, nothing paid or said twice."""

import os
from pathlib import Path

import pytest

from tests.faults import checks
from tests.faults.scene import ALL, ends_as_it_should, play_out
from tests.faults.schedule import FIXED, drawn
from tests.faults.study import SITES

SEED = int(os.environ.get("FAULTS_SEED", "20261121"))
DRAWN = 200


def nothing_wrong(nursery, folder, schedule):
    """Play a schedule and check all that must hold of it; True, so that a test can say so."""
    play, first, last = play_out(nursery, Path(folder), schedule)
    said = f"{schedule}\nthe struck run: {first}\nthe whole run: {last}"
    assert ends_as_it_should(play, first), said
    assert last.get("answered") == ALL, said
    assert checks.sums_are_exact(play), said
    for site in SITES:
        assert checks.site_repeats(play, site) and checks.site_paid_once(play, site), (site, said)
    assert checks.parties_opened_one_set(play) and checks.parties_repeat(play), said
    assert checks.complaints(play) == {}, said
    return True


@pytest.mark.parametrize("schedule", FIXED, ids=lambda one: f"{one.role}-{one.point}-{one.how}".replace(" ", "-"))
def test_a_role_that_is_struck_costs_no_more_than_its_attempt(nursery, tmp_path, schedule):
    assert nothing_wrong(nursery, tmp_path, schedule)


@pytest.mark.faults
@pytest.mark.parametrize("number", range(DRAWN), ids=lambda number: f"seed{SEED}-{number:03}")
def test_a_role_struck_by_lot_costs_no_more_than_its_attempt(nursery, tmp_path, number):
    assert nothing_wrong(nursery, tmp_path, drawn(SEED, number))
