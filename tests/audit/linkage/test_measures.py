import numpy as np
import pytest

from fedgenome.audit.linkage import measures
from fedgenome.errors import SpecError

TIED = np.array([[3.0, 1, 1, 1], [2, 2, 0, 0], [0, 0, 0, 0], [5, 1, 2, 3]])
OWNER = np.array([0, 1, 2, -1])  # found; one of two; one of four; a decoy


def test_ties_are_split_by_expectation():
    np.testing.assert_allclose(
        measures.match_curve(TIED, OWNER), [(1 + 1 / 2 + 1 / 4) / 3, (2 + 1 / 2) / 3, (2 + 3 / 4) / 3, 1]
    )


def test_ties_split_at_random_come_out_as_expected():
    rng = np.random.default_rng(1)
    drawn = np.mean([measures.ranks(TIED, OWNER, rng) for _ in range(1000)], axis=0)
    np.testing.assert_allclose(drawn, [1, 1.5, 2.5], atol=0.2)


def test_a_rate_counts_donors_and_has_clopper_pearsons_ends():
    found = measures.found(np.eye(4), np.arange(4), np.random.default_rng(0))
    assert (found.estimate, found.low, found.high) == (1, pytest.approx(0.025**0.25), 1)


def test_strata_share_the_chance_of_error():
    scores, strata = np.eye(4)[:, [0, 1, 3, 2]], np.array(["AFR", "AFR", "EUR", "EUR"])
    found = measures.found_within(scores, np.arange(4), strata, np.random.default_rng(0))
    assert [found[name].estimate for name in ("AFR", "EUR")] == [1, 0]
    assert found["AFR"].low == pytest.approx(0.0125**0.5) and found["AFR"].level == pytest.approx(0.975)


def test_open_set_wants_first_place_and_a_score_that_few_decoys_reach():
    rng = np.random.default_rng(2)
    decoys = np.minimum(rng.random((400, 4)), 0.99)
    scores = np.concatenate([np.eye(4)[[0, 1, 2, 2]] * [2, 2, 0.5, 0.5], decoys])
    owner = np.concatenate([np.arange(4), np.full(400, -1)])
    told = measures.open_set(scores, owner, rng)
    assert told.estimate == 0.5  # the third is first and below the threshold, the fourth not first
    assert measures.open_set(scores[:200], owner[:200], rng) is None


def test_the_worst_attacker_pays_for_the_others():
    owner, rng = np.arange(30), np.random.default_rng(3)
    blind = {f"blind {i}": np.zeros((30, 30)) for i in range(3)}
    alone = measures.worst_found({"sees": np.eye(30)}, owner, rng)
    among = measures.worst_found({"sees": np.eye(30)} | blind, owner, rng)
    assert (among.vector, among.estimate, among.surest) == ("sees", 1, "sees")
    assert alone.low == pytest.approx(0.05 ** (1 / 30)) and among.low == pytest.approx(0.0125 ** (1 / 30))


@pytest.mark.parametrize(
    ("scores", "owner", "message"),
    [
        (np.full((1, 2), np.nan), [0], "expected scores that are numbers"),
        (np.zeros((1, 2)), [2], "expected one owner a probe: a candidate, or −1"),
        (np.zeros((1, 2)), [-1], "expected a probe with an owner"),
        (np.zeros(2), [0], r"expected scores of \(probes, candidates\)"),
    ],
)
def test_scores_of_nobody_are_refused(scores, owner, message):
    with pytest.raises(SpecError, match=message):
        measures.found(scores, np.array(owner), np.random.default_rng(0))


def test_attackers_on_other_people_are_refused():
    with pytest.raises(SpecError, match="expected attackers of the same probes and candidates"):
        measures.worst_found({"a": np.eye(2), "b": np.eye(3)}, np.arange(2), np.random.default_rng(0))
