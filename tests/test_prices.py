"""``fedgenome plan``: every number is that of the accounting, the query and the ledger it speaks of."""

from pathlib import Path

import numpy as np
import pytest

from fedgenome import console, experiment, prepare, prices
from fedgenome.privacy import accounting
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.query import Mechanism
from fedgenome.study import Plan

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.toml"
EARLIER = Plan(mechanisms=(Mechanism(kind="gaussian", level=9.0),))


def spec(**changes):
    quickstart = experiment.load(QUICKSTART).model_dump(by_alias=True, exclude={"schema_"}) | {"name": "small"}
    quickstart["methods"] = [
        {"kind": "marginals"},
        {"kind": "cvae", "options": {"rounds": 20, "sampling": 0.2, "hidden": 4}},
    ]
    return experiment.Experiment.model_validate(quickstart | changes)


def kept(folder, **engine):
    """Return the settings of a run whose ledgers are kept: hospitals by a column, as donors must not move."""
    cohort = experiment.load(QUICKSTART).cohort.model_dump() | {"site": "phase"}
    engine = {"ledgers": folder, **engine}
    return {
        "cohort": cohort,
        "split": {"by": "column"},
        "caps": {"site_cap": 700, "donors_bound": 700},
        "engine": engine,
    }


def priced(**changes):
    prepared = prepare.prepare(spec(**changes), np.random.default_rng(1))
    return prepared, prices.prices(prepared)


@pytest.fixture(scope="module")
def small():
    return priced()


def test_each_part_costs_alone_what_accounting_says(small):
    prepared, told = small
    delta = accounting.usable(prepared.plan, 10.0, 1e-4)
    alone = [accounting.epsilon(Plan(mechanisms=(m,)), delta) for m in prepared.plan.mechanisms]
    assert [part.epsilon for part in told.parts] == alone
    assert max(alone) < told.epsilon < sum(alone) and told.epsilon <= told.reserves[0]


def test_counts_are_what_is_asked_and_what_the_reserve_adds(small):
    prepared, told = small
    assert [(part.asked, part.queries) for part in told.parts] == [(1, 1), (1, 1), (20, 21)]
    assert sum(part.queries for part in told.parts) == sum(m.count for m in prepared.plan.mechanisms)


def test_deviation_is_multiplier_times_bound_and_what_rounding_adds(small):
    for part in small[1].parts:
        assert 1 <= part.deviation / (part.noise_multiplier * part.bound) < 1.03


def test_expected_seconds_grow_with_the_rounds_and_bytes_are_summed(small):
    _, told = small
    gradients = told.parts[-1]
    assert told.seconds > gradients.seconds > gradients.asked * 5 * 0.008
    assert told.site_bytes == sum(part.site_bytes for part in told.parts)


def test_trust_none_is_priced_at_nothing_and_still_counts_queries_and_bytes():
    _, told = priced(privacy={"trust": "none"}, engine={"secure": "off"})
    assert told.epsilon is told.reserves is told.parts[0].epsilon is told.parts[0].deviation is None
    assert [part.asked for part in told.parts] == [1, 1, 20]
    assert told.parts[0].site_bytes == told.parts[0].elements * told.parts[0].bits // 8


@pytest.mark.parametrize(("budget", "left", "refused"), [(15.0, 2.0, ""), (12.0, 0.0, "g1: all plans together")])
def test_what_remains_of_a_kept_budget_is_what_the_ledger_would_say(tmp_path, budget, left, refused):
    with Ledger(tmp_path / "g1" / "ledger.jsonl", "account-1", Budget(epsilon=9.0, delta=1e-2)) as ledger:
        ledger.reserve("earlier", "5" * 64, EARLIER, 3.0, 1e-5, unit="row")
    _, told = priced(**kept(tmp_path, budget_epsilon=budget))
    assert told.accounts["g1"].reserved == (3.0, 1e-5)
    assert told.accounts["g1"].after == (left, pytest.approx(1e-2 - 1.1e-4))
    assert told.accounts["s"].after == (budget - 10.0, pytest.approx(1e-2 - 1e-4))
    assert told.refused.startswith(refused) and bool(told.refused) == bool(refused)


def test_table_shows_each_form_the_whole_and_that_nothing_is_kept(small):
    _, told = small
    shown = console.table(told)
    for text in (f"ε = {told.epsilon:.3f} at δ = 0.0001", "two colluding", "No ledger is kept over runs", "+1"):
        assert text in shown
    assert all(f"{part.epsilon:.4g}" in shown and f"{part.deviation:.4g}" in shown for part in told.parts)


def test_seeded_run_is_priced_as_without_its_seed_and_says_that_it_claims_nothing(tmp_path):
    _, told = priced(seed=7, engine={"ledgers": tmp_path, "budget_epsilon": 12.0})
    assert told.seeded and told.reserves is None and told.accounts["site-1"].after == (12.0, 1e-2)
    shown = console.table(told)
    assert "No ε: a seeded run is a simulation" in shown and "ledger would hold" not in shown


@pytest.mark.parametrize(("trust", "steps"), [("distributed", None), ("local", 2)])
def test_label_counts_of_the_rounds_own_form_are_priced_apart(trust, steps):
    options = {"rounds": 20, "sampling": 1.0, "labels_noise": 1.0, "hidden": 4, "local_steps": steps}
    privacy = {"trust": trust, "epsilon": 10.0, "delta": 1e-4}
    prepared, told = priced(methods=[{"kind": "cvae", "options": options}], privacy=privacy, release={})
    assert [(part.asked, part.elements) for part in told.parts] == [(1, 10), (20, told.parts[1].elements)]
    assert prepared.queries == {"cvae": 21}


@pytest.mark.parametrize(("retries", "queries"), [(0.04, 20), (0.05, 21), (0.14, 22)])
def test_reserve_of_local_training_is_of_whole_rounds_and_priced_as_it_is_held(retries, queries):
    options = {"rounds": 20, "sampling": 0.2, "hidden": 4, "local_steps": 6}
    privacy = {"trust": "local", "epsilon": 10.0, "delta": 1e-4, "retries": retries}
    prepared, told = priced(methods=[{"kind": "cvae", "options": options}], privacy=privacy, release={})
    delta = accounting.usable(prepared.plan, 10.0, 1e-4)
    assert told.parts[1].queries == queries and prepared.plan.mechanisms[1].count == 6 * queries
    assert told.parts[1].epsilon == accounting.epsilon(Plan(mechanisms=prepared.plan.mechanisms[1:]), delta)


def test_learned_clip_norm_is_priced_at_the_middle_of_the_norms():
    options = {"rounds": 20, "sampling": 0.2, "hidden": 4, "clip": 3.0, "clip_quantile": 0.5}
    _, told = priced(methods=[{"kind": "cvae", "options": options}], release={})
    assert [part.bound for part in told.parts if part.asked == 20] == [3.0]


def test_plan_says_that_a_ledger_of_another_unit_would_refuse(tmp_path):
    with Ledger(tmp_path / "g1" / "ledger.jsonl", "account-1") as ledger:
        ledger.reserve("earlier", "5" * 64, EARLIER, 3.0, 1e-5, unit="site")
    _, told = priced(**kept(tmp_path))
    assert told.refused.startswith("g1: the plans of this account are about one site, this one about one row")


def test_without_noise_a_sites_move_is_bounded_by_its_clipped_steps_alone():
    options = {"rounds": 3, "sampling": 0.2, "hidden": 4, "local_steps": 2, "clip": 1.5, "local_rate": 0.5}
    _, told = priced(methods=[{"kind": "cvae", "options": options}], privacy={"trust": "none"}, release={})
    # Four clip norms a donor that a site is expected to hold, 2 steps at a rate of .5; noise would come on top.
    assert [part.bound for part in told.parts] == [1.0, 4 * 1.5 * 2 * 0.5]
    assert told.parts[1].noise_multiplier is told.parts[1].epsilon is None
