"""Array against low-coverage sequence of the same people (public panels): the attacks' controls on real data."""

import os
from pathlib import Path

import numpy as np
import pytest

from fedgenome.audit.linkage import kinship, matcher, measures, neighbours

EVERY = 13  # one variant of so many is read


@pytest.fixture(scope="module")
def panels(repository):
    """Return both panels' dosages, and of each array record its sequence record; skip where they are absent."""
    folder = Path(os.environ.get("FEDGENOME_DATA", repository / "../shared/data")) / "genotypes"
    if not (folder / "array_panel.vcf.gz").exists():
        pytest.skip(f"real panels are not in {folder}; set FEDGENOME_DATA to the folder of genotypes/")
    cyvcf2 = pytest.importorskip("cyvcf2")
    read = {}
    for name in ("array", "sequence"):
        file = cyvcf2.VCF(str(folder / f"{name}_panel.vcf.gz"))
        calls = [v.genotype.array()[:, :2].copy() for i, v in enumerate(file) if i % EVERY == 0]
        alleles = np.stack(calls, axis=1)  # (people, variants, 2)
        read[name] = file.samples, np.where((alleles < 0).any(2), -1, alleles.sum(2)).astype(np.int8)
    (array_ids, array), (sequence_ids, sequence) = read["array"], read["sequence"]
    place = {person: i for i, person in enumerate(sequence_ids)}
    return array, sequence, np.array([place.get(person, -1) for person in array_ids])


@pytest.fixture(scope="module")
def sides(panels):
    """Return (training, test) of both panels, bool each; families are on one side."""
    array, sequence, _ = panels
    everybody = np.concatenate([array, sequence])
    family = kinship.families(kinship.kinship(everybody, everybody), kinship.SECOND)
    test = np.random.default_rng(7).random(family.max() + 1) < 0.5
    return test[family[: len(array)]], test[family[len(array) :]]


@pytest.fixture(scope="module")
def linked(panels, sides):
    """Return probes, candidates, owner of the test side; base and pairs of the training side."""
    array, sequence, whose = panels
    probes, candidates = sides
    both = ~probes & (whose >= 0)
    owner = np.where(whose[probes] >= 0, (np.cumsum(candidates) - 1)[whose[probes]], -1)
    return array[probes], sequence[candidates], owner, sequence[~candidates], (array[both], sequence[whose[both]])


def test_361_people_are_in_both_and_look_like_one_person(panels):
    array, sequence, whose = panels
    both = whose >= 0
    assert both.sum() == 361 and (array.shape[0], sequence.shape[0]) == (582, 683)
    own = kinship.kinship(array[both], sequence[whose[both]]).diagonal()
    assert (own > kinship.SAME).all()


def test_unmasked_people_are_found_and_who_is_not_in_the_panel_is_at_chance(linked):
    """The negative control: decoys as if each were a candidate drawn by chance; at ranks up to 30, .001 a side."""
    probes, candidates, owner, base, pairs = linked
    rng = np.random.default_rng(0)
    scores = matcher.log_ratios(matcher.channel(base, pairs), probes, candidates)
    near = neighbours.agreement(probes, candidates)
    for found in (scores, near):
        assert measures.found(found, owner, rng).low > 0.97
        decoys = found[owner < 0]
        at = measures.found(decoys, rng.integers(0, len(candidates), len(decoys)), rng, 30, 0.998)
        assert at.low <= 30 / len(candidates) <= at.high


def test_twenty_variants_of_a_thousand_identify_and_two_do_not(linked):
    probes, candidates, owner, base, (shown, owners) = linked
    rng = np.random.default_rng(1)
    rates = []
    for kept in (2, 20):
        told = rng.choice(probes.shape[1], kept, replace=False)
        fitted = matcher.channel(base[:, told], (shown[:, told], owners[:, told]))
        scores = matcher.log_ratios(fitted, probes[:, told], candidates[:, told])
        rates.append(measures.found(scores, owner, rng))
    assert rates[0].high < 0.1 and rates[1].low > 0.9
