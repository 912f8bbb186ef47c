import json
import time

import numpy as np
import pytest

from fedgenome.audit import logan
from fedgenome.audit.bounds import ranking
from fedgenome.audit.model_loss import by_heart
from fedgenome.audit.run import ATTACKS, EVERY, STANDARD, attack, audit, enough, split_base
from fedgenome.audit.scales import Values
from fedgenome.audit.targets import Records, Target
from fedgenome.errors import SpecError

SCALE = Values(0.0, 8.0)


def _run(members, controls, table, seed=0, **more):
    return audit(
        members=members, controls=controls, synthetic=table, rng=np.random.default_rng(seed), scale=SCALE, **more
    )


def _permuted(draw, seed, repetitions=300):
    """Yield (members, controls, base, target) of one cohort whose membership is drawn anew each time."""
    rng = np.random.default_rng(seed)
    everyone = SCALE.of(draw(150, rng))
    table = SCALE.of(draw(200, rng))
    target = Target(table=table, samples=table, losses=by_heart(table))
    for _ in range(repetitions):
        order = rng.permutation(150)
        yield *(everyone.rows(part) for part in np.split(order, [90, 130])), target


@pytest.mark.parametrize("name", EVERY)
def test_auc_interval_covers_chance_under_permuted_membership(draw, name, monkeypatch):
    """300 repetitions (60 of the dear): a sound 95 % interval fails with chance 2.3 %; an 80 % one must be rejected."""
    monkeypatch.setattr(logan, "TREES", 3)  # the level holds for any forest
    most = 300 if name in STANDARD else 60
    least = 0.95 - 2 * (0.95 * 0.05 / most) ** 0.5

    def covered(repetitions: int = most) -> float:
        seen = [attack(name, a, b, t, c).auc for a, b, c, t in _permuted(draw, 11, repetitions)]
        return np.mean([auc.low <= 0.5 <= auc.high for auc in seen])

    assert covered() >= least
    sound = ranking.auc_interval
    monkeypatch.setattr(ranking, "auc_interval", lambda m, c: sound(m, c, 0.8))
    assert covered(80) < least


def test_p_value_is_small_no_oftener_than_it_says(draw):
    """300 repetitions, nominal 5 %: at most 5 % + 2 standard errors (chance 2.3 % of failing if sound)."""
    small = np.mean([attack("gan-leaks", a, b, t, c).p_value < 0.05 for a, b, c, t in _permuted(draw, seed=12)])
    assert small <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


@pytest.mark.parametrize(
    ("attacks", "genes", "share", "p_value"), [(STANDARD, 6, 0.3, 1e-3), (tuple(ATTACKS), 60, 0.6, 1e-2)]
)
def test_copies_of_members_are_caught_by_every_attack(draw, copying, attacks, genes, share, p_value):
    rng = np.random.default_rng(3)
    members, controls, table = (draw(n, rng, genes=genes) for n in (300, 140, 1000))
    seen = _run(members, controls, copying(table, members, share), attacks=attacks)
    assert [one.name for one in seen.attacks] == list(attacks)
    assert all(one.p_value < p_value and one.auc.low > 0.5 for one in seen.attacks)
    assert not seen.void


def test_copies_in_many_samples_are_caught_by_gan_leaks_alone(draw, copying):
    rng = np.random.default_rng(4)
    members, controls, table = draw(300, rng), draw(140, rng), draw(1000, rng)
    seen = _run(members, controls, table, samples=copying(draw(2000, rng), members, share=1.0))
    assert {one.name: one.auc.low > 0.9 for one in seen.attacks} == {"closest-record": False, "gan-leaks": True}


def test_a_third_of_the_control_donors_becomes_the_base_with_all_their_rows(draw):
    rng = np.random.default_rng(0)
    rows = draw(40, rng)
    controls = Records(x=rows.x, label=rows.label, donor=np.arange(40) // 2)
    evaluated, base = split_base(controls, rng)
    assert (len(evaluated.units), len(base.units)) == (14, 6)
    assert not np.intersect1d(evaluated.units, base.units).size
    assert len(evaluated) + len(base) == 40


def test_a_base_of_ones_own_spares_the_controls(draw):
    rng = np.random.default_rng(0)
    seen = _run(draw(40, rng), draw(30, rng), draw(50, rng), base=draw(20, rng))
    assert (seen.members, seen.controls, seen.base) == (40, 30, 20)


def test_rows_of_one_donor_count_once(draw):
    rng = np.random.default_rng(0)
    rows = draw(90, rng)
    members = Records(x=rows.x, label=rows.label, donor=np.arange(90) // 3)
    seen = _run(members, draw(60, rng), draw(50, rng), unit="donor")
    assert (seen.members, seen.controls, seen.unit) == (30, 40, "donor")


def test_same_generator_state_gives_the_same_audit(draw):
    rng = np.random.default_rng(0)
    given = draw(60, rng), draw(60, rng), draw(100, rng)
    assert _run(*given, seed=1) == _run(*given, seed=1)
    assert _run(*given, seed=1) != _run(*given, seed=2)


def test_json_holds_what_a_report_shows(draw):
    rng = np.random.default_rng(0)
    seen = json.loads(json.dumps(_run(draw(60, rng), draw(60, rng), draw(100, rng)).to_json(), allow_nan=False))
    assert seen["statement"] == "reads real members and controls; stays internal"
    assert seen["smallest_false_alarms"] == pytest.approx(3 / 40)
    assert [len(one["roc"]["hits"]) for one in seen["attacks"]] == [62, 62]
    assert seen["attacks"][0]["roc"]["hits"][-1] == 1


def test_missing_values_and_a_gene_that_never_varies_do_no_harm(draw):
    rng = np.random.default_rng(0)
    members, controls, table = draw(60, rng), draw(60, rng), draw(100, rng)
    for records in (members, controls, table):
        records.x[:, 0] = 1.0
        records.x[::7, 1] = np.nan
    assert not _run(members, controls, table).void


def test_progress_is_told_every_step(draw):
    rng, told = np.random.default_rng(0), []
    _run(draw(20, rng), draw(20, rng), draw(20, rng), progress=told.append)
    assert told == ["scale", *STANDARD, "near-copies", "checks"]


def test_attacks_are_run_as_asked_in_their_own_order_and_strange_ones_refused(draw):
    rng = np.random.default_rng(0)
    given = draw(20, rng), draw(20, rng), draw(20, rng)
    seen = _run(*given, attacks=("domias", "gan-leaks", "domias"))
    assert [one.name for one in seen.attacks] == ["gan-leaks", "domias"]
    assert [check.attack for check in seen.checks if check.kind == "positive"] == ["gan-leaks", "domias", "near-copies"]
    for wrong, named in ((("gan-leeks",), "gan-leeks"), ((), "none")):
        with pytest.raises(SpecError, match=f"attacks of closest-record, gan-leaks, .*got attacks='{named}'"):
            _run(*given, attacks=wrong)


def test_a_reference_generator_calibrates_gan_leaks_and_leaves_it_at_chance_and_sharp(draw, copying):
    rng = np.random.default_rng(6)
    members, controls, table, reference = draw(300, rng), draw(140, rng), draw(1000, rng), draw(1000, rng)
    for share, found in ((0.0, False), (0.3, True)):
        given = members, controls, copying(table, members, share)
        plain, seen = (_run(*given, **more) for more in ({}, {"generator_reference": reference}))
        assert (plain.attacks[0], plain.attacks[1]) != seen.attacks and plain.attacks[0] == seen.attacks[0]
        assert (seen.attacks[1].p_value < 1e-3) is found and not seen.void


def test_smallest_groups_are_audited_and_smaller_ones_refused(draw):
    rng = np.random.default_rng(0)
    members, controls, table = draw(4, rng), draw(6, rng), draw(10, rng)
    assert enough(members, controls)
    assert _run(members, controls, table).controls == 4
    assert not enough(members, draw(5, rng))
    with pytest.raises(SpecError, match="at least 6 donors among the controls, got donors=5"):
        _run(members, draw(5, rng), table)


def test_tables_of_other_genes_and_empty_tables_are_refused(draw):
    rng = np.random.default_rng(0)
    members, controls = draw(10, rng), draw(10, rng)
    with pytest.raises(SpecError, match=r"same number of genes everywhere, got .*synthetic=5"):
        _run(members, controls, draw(9, rng, genes=5))
    with pytest.raises(SpecError, match="at least one row in synthetic"):
        _run(members, controls, draw(0, rng))


def test_audit_of_the_quickstarts_size_takes_seconds(draw):
    rng = np.random.default_rng(0)
    given = draw(560, rng, genes=50), draw(140, rng, genes=50), draw(5000, rng, genes=50)
    start = time.process_time()  # summed over threads
    _run(*given)
    assert time.process_time() - start < 5
