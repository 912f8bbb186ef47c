import numpy as np
import pytest

from fedgenome.audit.linkage import dosages, matcher, measures
from fedgenome.audit.linkage.dosages import MASK, MISSING
from fedgenome.errors import SpecError


def test_log_ratios_are_those_of_a_loop_over_variants(made, monkeypatch):
    people = made(np.random.default_rng(1), linked=3, decoys=2, strangers=2, variants=11)
    fitted = matcher.channel(people.base, people.pairs)
    people.probes[0, :4], people.candidates[1, 6] = MASK, MISSING
    monkeypatch.setattr(dosages, "_CELLS", 10 * 3 * 4)  # four variants at a time
    found = matcher.log_ratios(fitted, people.probes, people.candidates)
    for i, j in np.ndindex(found.shape):
        told = [(v, g, s) for v, (g, s) in enumerate(zip(people.candidates[j], people.probes[i], strict=True))]
        naive = sum(float(fitted.ratios[v, g, s]) for v, g, s in told if g >= 0 and s >= 0)
        assert found[i, j] == pytest.approx(naive, abs=1e-5)


def test_a_ratio_is_what_bayes_says_of_a_known_law():
    """Half of the base is 0, half 2; .1 of errors: P(0 | 0)/P(0) = .9/(.5·.9 + .5·.05)."""
    base = np.repeat([[0], [2]], 50_000, axis=0).astype(np.int8)
    ratios = np.exp(matcher.channel(base, prior=matcher.errors(0.1)).ratios[0])
    assert ratios[0] == pytest.approx([0.9 / 0.475, 1, 0.05 / 0.475], rel=1e-3)


def test_pairs_teach_how_often_two_looks_agree_variant_by_variant():
    rng = np.random.default_rng(2)
    owners = rng.integers(0, 3, (5000, 2)).astype(np.int8)
    probes = owners.copy()
    probes[:, 1] = rng.integers(0, 3, 5000)  # the second variant is noise
    ratios = matcher.channel(owners, (probes, owners)).ratios
    assert ratios[0, 1, 1] > 1 and abs(ratios[1]).max() < 0.1


def test_unmasked_people_are_found_and_masked_ones_are_not(made):
    people, rng = made(np.random.default_rng(3)), np.random.default_rng(0)
    fitted = matcher.channel(people.base, people.pairs)
    clear = matcher.log_ratios(fitted, people.probes, people.candidates)
    dark = matcher.log_ratios(fitted, np.full_like(people.probes, MASK), people.candidates)
    assert measures.found(clear, people.owner, rng).low > 0.8
    assert (dark == 0).all() and measures.match_curve(dark, people.owner)[0] == pytest.approx(1 / 80)


def test_people_who_are_not_in_the_panel_are_found_at_chance(made):
    """Two-sided at .001 a side; the twin, whose probes are the candidates' own, is rejected by the same interval."""
    people, rng = made(np.random.default_rng(4), linked=200, decoys=200, strangers=0), np.random.default_rng(0)
    scores = matcher.log_ratios(matcher.channel(people.base, people.pairs), people.probes, people.candidates)
    whoever = rng.permutation(200)
    apart, twin = (measures.found(scores[part], whoever, rng, 20, 0.998) for part in (slice(200, None), slice(200)))
    assert apart.low <= 20 / 200 <= apart.high
    own = measures.found(scores[:200], people.owner[:200], rng, 20, 0.998)
    assert twin.low <= 20 / 200 <= twin.high < own.low


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": np.full((3, 3), 0.5)}, "expected a prior of 3 rows that add up to 1, all above 0"),
        ({"weight": 0.0}, "expected weight > 0, got weight=0.0"),
        ({"pairs": (np.zeros((2, 60), np.int8), np.zeros((3, 60), np.int8))}, "expected as many probes as owners"),
        ({"pairs": (np.zeros((2, 9), np.int8),) * 2}, "expected pairs of the base's variants, got pairs=9, base=60"),
    ],
)
def test_a_channel_that_cannot_be_fitted_is_refused(made, change, message):
    with pytest.raises(SpecError, match=message):
        matcher.channel(made(np.random.default_rng(5)).base, **change)


def test_other_variants_than_the_channels_are_refused(made):
    people = made(np.random.default_rng(6))
    with pytest.raises(SpecError, match=r"expected the channel's variants, got channel=60, got=\(9, 60\)"):
        matcher.log_ratios(matcher.channel(people.base), people.probes[:, :9], people.candidates)
