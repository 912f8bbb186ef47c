import itertools

import numpy as np
import pytest
import torch

from fedgenome.audit.language import copying, private
from fedgenome.audit.language.copying import Panel

RNG = np.random.default_rng(1)


def people(n, rng, length=24):
    """Windows alike but for one private allele each, at a place of its own, and the reference."""
    reference = rng.integers(0, 4, length)
    windows = np.tile(reference, (n, 1))
    at = rng.choice(length - 4, n, replace=False) + 4
    windows[np.arange(n), at] = (windows[np.arange(n), at] + 1) % 4
    return windows, at, reference


def naive_copying(panel, row, donor):
    """Sum over all paths of copied haplotypes; log p of the whole row."""
    others = [h for h, d in zip(panel.rows, panel.donor, strict=True) if d != donor]
    total = 0.0
    for path in itertools.product(range(len(others)), repeat=len(row)):
        p = 1.0
        for t, (j, token) in enumerate(zip(path, row, strict=True)):
            jump = panel.switch / len(others) if t else 1 / len(others)
            p *= jump + (1 - panel.switch) * (t > 0 and path[t - 1] == j)
            p *= panel.error / 4 + (1 - panel.error) * (others[j][t] == token)
        total += p
    return np.log(total)


def test_a_copying_model_sums_over_all_mosaics_of_other_people():
    panel = Panel(rows=RNG.integers(0, 4, (4, 5)), donor=np.array([0, 0, 1, 2]), vocabulary=4, switch=0.2, error=0.1)
    rows = RNG.integers(0, 4, (3, 5))
    found = copying.log_probabilities(panel, rows, np.array([0, 1, 9])).sum(1)
    assert found == pytest.approx([naive_copying(panel, r, d) for r, d in zip(rows, (0, 1, 9), strict=True)])


def test_a_copying_model_s_chances_of_all_tokens_sum_to_1_with_unknown_ones_about():
    panel = Panel(rows=RNG.integers(0, 5, (6, 8)), donor=np.arange(6), vocabulary=4)
    logs = copying.conditionals(panel, RNG.integers(0, 5, (6, 8)), np.arange(6))
    assert np.exp(logs).sum(2) == pytest.approx(np.ones((6, 8)))


def test_private_variants_are_those_of_one_person():
    """Two rows a person; an allele that both have is one person's, one that two people have is nobody's."""
    windows = np.zeros((8, 5), np.int64)
    donor = np.repeat([10, 20, 30, 40], 2)
    windows[[0, 1], 1] = 2  # private of 10, homozygous
    windows[5, 3] = 3  # private of 30
    windows[[2, 6], 4] = 1  # of 20 and 40
    windows[7, 0] = 4  # unknown
    found = private.variants(windows, donor, 4)
    assert sorted(zip(*(x.tolist() for x in (found.row, found.position, found.allele, found.common, found.donor)),
                      strict=True)) == [(0, 1, 2, 0, 10), (5, 3, 3, 0, 30)]  # fmt: skip
    assert (private.neighbours(windows, found) == 0)[:, 1:].all()


def test_a_model_that_recites_members_likes_and_names_their_alleles_alone(reciting):
    windows, at, _ = people(20, np.random.default_rng(2))
    found = private.variants(windows, np.arange(20), 4)
    assert sorted(found.position.tolist()) == sorted(at.tolist())
    member = found.donor < 10
    model = reciting(windows[:10])
    inside, outside = private.by_donor(private.preference(model, windows, found), found, member)
    assert inside.min() > 5 > outside.max()
    assert private.baseline(_panel(windows), windows, found).max() < 0
    # Ten members differ before they part, so that what is likeliest is the common allele: one by itself is named.
    alone = reciting(windows[:1])
    counts = private.extracted(private.named(alone, windows, found), found, found.donor < 1)
    assert (counts.hits, counts.members) == (1, 1)
    assert counts.false_alarms < counts.controls / 2  # others by chance, a quarter


def test_what_a_panel_of_others_says_is_no_preference_for_members(chain):
    windows, _, _ = people(20, np.random.default_rng(3))
    found = private.variants(windows, np.arange(20), 4)
    scores = private.preference(chain(1), windows, found) - private.baseline(_panel(windows), windows, found)
    inside, outside = private.by_donor(scores, found, found.donor < 10)
    assert len(inside) == len(outside) == 10 and np.isfinite(scores).all()


def test_a_masked_model_is_asked_with_the_allele_hidden():
    class Echo(torch.nn.Module):
        vocabulary = 4

        def forward(self, tokens, hidden):
            shown = torch.nn.functional.one_hot(tokens, 4).double()
            return torch.where(hidden[..., None], torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64), 9 * shown)

    windows = np.zeros((4, 6), np.int64)
    windows[0, 2], windows[1, 3] = 1, 2
    found = private.variants(windows, np.arange(4), 4)
    said = dict(zip(found.allele.tolist(), private.named(Echo(), windows, found).tolist(), strict=True))
    assert said == {1: True, 2: False}  # whatever is hidden it takes for 1


def test_one_variant_a_person_counts():
    windows = np.zeros((6, 9), np.int64)
    windows[0, [2, 5, 7]], windows[1, 3] = 1, 1
    found = private.variants(windows, np.arange(6), 4)
    counts = private.extracted(np.ones(4, np.bool_), found, found.donor == 0)
    assert (counts.hits, counts.members, counts.false_alarms, counts.controls) == (1, 1, 1, 1)


def _panel(windows):
    return Panel(rows=windows, donor=np.arange(len(windows)), vocabulary=4)
