import numpy as np
import torch

from fedgenome.audit.language import private
from fedgenome.audit.language.copying import Copying


def people(n, rng, length=24):
    """Windows alike but for one private allele each, at a place of its own, and the reference."""
    reference = rng.integers(0, 4, length)
    windows = np.tile(reference, (n, 1))
    at = rng.choice(length - 4, n, replace=False) + 4
    windows[np.arange(n), at] = (windows[np.arange(n), at] + 1) % 4
    return windows, at, reference


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
    assert private.baseline(Copying(windows, 4), np.arange(20), windows, found).max() < 0
    # Ten members differ before they part, so that what is likeliest is the common allele: one by itself is named.
    alone = reciting(windows[:1])
    counts = private.extracted(private.named(alone, windows, found), found, found.donor < 1)
    assert (counts.hits, counts.members) == (1, 1)
    assert counts.false_alarms < counts.controls / 2  # others by chance, a quarter


def test_what_a_panel_of_others_says_is_no_preference_for_members(chain):
    windows, _, _ = people(20, np.random.default_rng(3))
    found = private.variants(windows, np.arange(20), 4)
    scores = private.preference(chain(1), windows, found) - private.baseline(
        Copying(windows, 4), np.arange(20), windows, found
    )
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
