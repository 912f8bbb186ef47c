"""Runs under `local` and `site` over Flower's apps: sums, steps charged, and what sites refuse."""

import json
from collections import Counter

import numpy as np
import pytest

from fedgenome.errors import BudgetRefused
from fedgenome.secure.parties import Parties
from tests.federation.small import OPTIONS, make_plan, make_study, party_folder
from tests.federation.test_coordinator import Flaky, both, conduct, same
from tests.federation.test_site import ask, join, query_of

STEPS = 2
AVERAGED = [{"kind": "cvae", "options": {**OPTIONS, "local_steps": STEPS}}]


@pytest.fixture
def parties(tmp_path):
    with Parties.start(tmp_path, 7) as running:
        running.keep(party_folder(tmp_path / "kept"))
        yield running


def study_of(model, kind="marginals", **changes):
    return make_study(model, kind="cvae" if kind == "averaged" else kind, **_methods(kind), **changes)


def _methods(kind):
    return {"methods": AVERAGED} if kind == "averaged" else {}


@pytest.fixture
def fresh(tmp_path, make_job):
    """Make jobs with state folders of their own."""
    made = iter(range(9))
    return lambda *given, **changes: make_job(*given, **changes, folder=tmp_path / f"state-{next(made)}")


def test_secure_and_plain_sums_of_vectors_noised_at_home_give_the_same_seeded_release(agent, fresh, parties):
    # So the parties add shares of home-noised vectors and no noise of their own.
    secure, plain = study_of("local"), study_of("local", secure="off")
    one = conduct(fresh(secure, parties, seed=7), both(agent, secure, seed=7)).releases
    two = conduct(fresh(plain, seed=7), both(agent, plain, seed=7)).releases
    assert same(one, two)


@pytest.mark.parametrize("kind", ["cvae", "averaged"])
def test_training_under_local_ends_in_a_release_and_unseeded_runs_differ(agent, fresh, kind):
    study = study_of("local", kind, secure="off")
    one, two = (conduct(fresh(study, noise=8.0), both(agent, study)) for _ in range(2))
    assert one.answered["cvae"] == OPTIONS["rounds"] + 1
    assert np.isfinite(one.releases["cvae"]["weights"]).all() and not same(one.releases, two.releases)


def charges(tmp_path):
    """Return how many steps of each rate a site's ledger was charged."""
    lines = [json.loads(line) for line in next(tmp_path.glob("north*.jsonl")).read_text().splitlines()]
    used = Counter()
    for line in lines:
        if line["event"] == "charge":
            used[line["form"]["sampling"]] += line.get("steps", 1)
    return used


def test_each_round_of_local_training_is_charged_as_its_steps(agent, fresh, tmp_path):
    study = study_of("local", "averaged", secure="off")
    conduct(fresh(study, noise=8.0), both(agent, study))
    assert charges(tmp_path) == {1.0: 1, 0.5: STEPS * OPTIONS["rounds"]}
    assert make_plan(study, 8.0).mechanisms[1].count == STEPS * OPTIONS["rounds"]


def test_a_failed_round_takes_its_steps_from_the_reserve_and_the_next_one_is_refused(agent, fresh):
    reserve = {"trust": "local", "epsilon": 9.0, "delta": 1e-3, "retries": 0.25}
    study = study_of("local", "averaged", secure="off", privacy=reserve)
    north, south = both(agent, study)
    assert conduct(fresh(study, noise=9.0), [north, Flaky(south, 2)]).answered["cvae"] == 5
    north, south = both(agent, study)
    with pytest.raises(BudgetRefused, match="used up, retries included"):
        conduct(fresh(study, noise=9.0), [north, Flaky(south, 2, 4)])


def test_site_level_averaging_ends_in_a_release(agent, fresh, parties):
    study = study_of("site", "averaged")
    coordinator = conduct(fresh(study, parties, seed=7, noise=8.0), both(agent, study, seed=7))
    release = coordinator.releases["cvae"]
    assert coordinator.answered["cvae"] == OPTIONS["rounds"] + 1 and np.isfinite(release["weights"]).all()
    assert np.linalg.norm(release["weights"]) > 0


@pytest.mark.parametrize(
    ("model", "asked"), [(a, b) for a in ("distributed", "local", "site") for b in ("distributed", "local", "site")]
)
def test_a_site_refuses_what_another_trust_model_would_ask(agent, model, asked):
    pinned, other = (study_of(name, "averaged" if name == "site" else "cvae") for name in (model, asked))
    site = agent(pinned)
    assert join(site, pinned, make_plan(pinned, 8.0)).refusal is None
    query = query_of(other, noise=8.0)
    told = query_of(pinned, noise=8.0, mechanism=query.question.mechanism, unit=query.question.unit)
    refusal = ask(site, told).refusal
    assert (refusal[0] if refusal else None) == (None if model == asked else "other-trust")
