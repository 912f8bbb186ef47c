"""Every attacker at once: the worst counts, each sees what it is for, and the controls void what proves nothing."""

import numpy as np
import pytest

from fedgenome.audit.linkage.attackers import NETWORKS, Others
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.audit.linkage.run import linked
from fedgenome.errors import SpecError


def attack(panels, told, **more):
    """Attack panels of which ``told`` variants are told; None: all, in which case nothing is masked."""

    def mask(rows):
        return np.where(told, rows, MASK).astype(np.int8)

    shown, owners = panels.pairs
    others = Others(base=panels.base, pairs=(mask(shown), owners))
    given = {"whole": (panels.probes, shown), "steps": 2} | more
    return linked(mask(panels.probes), panels.candidates, panels.owner, others, np.random.default_rng(5), **given)


def first(k, of=60):
    return np.arange(of) < k


def test_whom_a_closed_form_finds_no_network_is_trained_for(made):
    found = attack(made(np.random.default_rng(1)), first(60))
    assert found.worst.estimate == 1 and found.worst.low > 0.85 and set(found.left_out) == set(NETWORKS)
    assert found.curve[1] == 1 and found.bits.proven > 6 and found.epsilon.epsilon > 1 and not found.void


def test_one_variant_finds_few_and_every_attacker_is_asked(made):
    found = attack(made(np.random.default_rng(2)), first(1))
    names = {each.vector for each in found.worst.effects}
    assert found.worst.high < 0.3 and not found.left_out and {*NETWORKS, "regression", "closest kin"} <= names
    assert found.worst.high >= max(each.estimate for each in found.worst.effects)
    assert (found.told, found.variants, found.judged, found.decoys, found.candidates) == (1, 60, 40, 40, 80)


def test_a_panel_of_other_people_under_the_same_ids_voids_the_audit(made):
    panels = made(np.random.default_rng(3))
    strangers = made(np.random.default_rng(4)).candidates
    found = attack(type(panels)(**{**vars_of(panels), "candidates": strangers}), first(20))
    assert found.worst.estimate < 0.2 and [check.kind for check in found.void] == ["positive"]


def vars_of(panels):
    return {name: getattr(panels, name) for name in panels.__dataclass_fields__}


def test_a_mask_that_depends_on_the_person_is_seen_and_a_list_is_not(made):
    panels = made(np.random.default_rng(5))
    shown, owners = panels.pairs

    def by_dosage(rows):  # tells hardly a genotype, and by what it withholds every one
        return np.where(rows < 2, MASK, rows).astype(np.int8)

    others = Others(base=panels.base, pairs=(by_dosage(shown), owners))
    found = linked(by_dosage(panels.probes), panels.candidates, panels.owner, others, np.random.default_rng(0), steps=2)
    alone = {each.vector: each.estimate for each in found.worst.effects}
    assert alone["masks alone"] > 0.9
    assert "masks alone" not in {each.vector for each in attack(panels, first(3)).worst.effects}


def test_soft_masks_of_nearly_nothing_find_everybody(made):
    panels = made(np.random.default_rng(6))
    shown, owners = panels.pairs
    others = Others(base=panels.base, pairs=(0.01 * shown.astype(np.float32), owners))
    rows = 0.01 * panels.probes.astype(np.float32)
    found = linked(rows, panels.candidates, panels.owner, others, np.random.default_rng(0))
    alone = {each.vector: each.estimate for each in found.worst.effects}
    assert alone["masks alone"] > 0.9 and alone["likelihood matcher"] > 0.9 and "numbers" in found.left_out["LSTM"]


def test_variants_that_the_panel_lacks_find_people_by_their_neighbours():
    """Pairs of variants in complete linkage: the release tells one of each pair, the panel holds the other."""
    rng = np.random.default_rng(7)

    def people(n):
        return np.repeat(rng.binomial(2, 0.4, (n, 20)), 2, axis=1).astype(np.int8)

    true, others, base, told = people(40), people(60), people(60), np.arange(40) % 2 == 0
    panel, owners = (np.where(told, -1, rows).astype(np.int8) for rows in (true, others))
    masked, pairs = (np.where(told, rows, MASK).astype(np.int8) for rows in (true, others))
    places = {"contig": np.repeat([str(i) for i in range(20)], 2), "position": np.arange(40)}
    fitted = Others(base=base, pairs=(pairs, owners), **places)
    found = linked(masked, panel, np.arange(40), fitted, rng, steps=2)
    rates = {each.vector: each.estimate for each in found.worst.effects}
    assert rates["matcher after imputation"] > 0.9 and rates["likelihood matcher"] < 0.2


def test_expression_is_linked_too():
    rng = np.random.default_rng(8)
    panel, others, base = (rng.normal(5, 1, (n, 20)).astype(np.float32) for n in (50, 60, 60))

    def look(rows):
        noisy = rows + rng.normal(0, 0.2, rows.shape)
        return np.where(np.arange(20) < 10, noisy, np.nan).astype(np.float32)

    fitted = Others(base=base, pairs=(look(others), others))
    found = linked(look(panel), panel, np.arange(50), fitted, rng)
    assert found.worst.estimate > 0.9 and found.told == 10 and found.epsilon is None


def test_strata_are_told_of_the_worst_attacker(made):
    found = attack(made(np.random.default_rng(9)), first(60), strata=np.repeat(["AFR", "EUR"], 40))
    assert {name: rate.estimate for name, rate in found.strata.items()} == {"AFR": 1}  # decoys are of the other


def test_what_tells_nothing_or_of_one_person_is_refused(made):
    panels = made(np.random.default_rng(10))
    with pytest.raises(SpecError, match="expected a release that tells something"):
        attack(panels, first(0))
    with pytest.raises(SpecError, match="expected two people to judge"):
        attack(type(panels)(**{**vars_of(panels), "owner": np.full(80, -1)}), first(3))
