"""Every rule of a hospital's policy decides, at its edge, and is named in the refusal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.deployment.hospital import policy as rules_of
from fedgenome.errors import Refused
from fedgenome.query import Mechanism
from fedgenome.secure.identity import Identity
from fedgenome.study import Plan
from tests.deployment_roles.hospitals import DEALER, NAME, SIGNER, agreed, policy, signed
from tests.federation.small import CAP, PARTY_IDS, SITE_IDS

OTHERS = [Identity.generate() for _ in PARTY_IDS]
PRIVACY = {"trust": "distributed", "epsilon": 5.0, "delta": 1e-3}
PICK = Plan(mechanisms=(Mechanism(kind="exponential", level=1.0),))


def decided(study, own=None, *, by=(SIGNER,), plan=None, public=False, seeded=False):
    """Return the rule that refuses a study; nothing if none does."""
    try:
        rules_of.check(own or policy(), study, plan, signed(study, *by).wire, public, seeded, site=NAME)
    except Refused as fault:
        return fault.rule if fault.code == "policy" else f"{fault.code}?"
    return ""


def keyed(parties=PARTY_IDS, dealer=""):
    keys = {name: one.public for name, one in SITE_IDS.items()}
    return agreed().with_keys(keys, [one.public for one in parties], dealer)


def private(**changes):
    return agreed(privacy=PRIVACY | changes)


def test_study_within_every_rule_is_allowed():
    assert decided(agreed()) == ""
    assert decided(keyed(dealer=DEALER.public), policy(dealer=DEALER.public), plan=PICK) == ""


@pytest.mark.parametrize(
    ("study", "rule"),
    [
        (keyed(OTHERS), r"policy\.parties: .* other parties' keys"),
        (keyed(PARTY_IDS[::-1]), r"policy\.parties: .* or an order"),
        (keyed((*PARTY_IDS[:2], OTHERS[0])), r"policy\.parties"),
        (keyed(dealer=DEALER.public), r"policy\.dealer: .* another dealer's key"),
        (agreed(quorum=1), r"policy\.quorum: at least 2 sites, the study says 1"),
        (private(colluders=0), r"policy\.colluders: at least 1, the study says 0"),
        (agreed(kind="linear"), r"policy\.methods: one of marginals, cvae, not linear"),
        (private(trust="site"), r"policy\.trust: one of distributed, local, not site"),
        (private(delta=1.1e-3), r"policy\.delta: at most 0\.001, the study says 0\.0011"),
        (private(epsilon=12.5), r"policy\.budget_epsilon: at most 12\.0 over all studies, .* asks for 12\.5"),
    ],
)
def test_study_that_breaks_a_rule_is_refused_by_its_line(study, rule):
    assert re.match(rule, decided(study))


@pytest.mark.parametrize("by", [(Identity.generate(),), tuple(OTHERS)], ids=["a stranger", "three strangers"])
def test_signature_of_others_does_not_count(by):
    assert decided(agreed(), by=by).startswith("policy.signers: ")
    assert decided(agreed(), by=(*by, SIGNER)) == ""


@pytest.mark.parametrize("wire", [[], ["x"], [{}], [{"signer": 3, "signature": None}], "x"])
def test_signatures_that_are_none_are_refused(wire):
    with pytest.raises(Refused, match=r"policy\.signers"):
        rules_of.check(policy(), agreed(), None, wire, False, False, site=NAME)


def test_signature_of_another_study_does_not_count():
    with pytest.raises(Refused, match=r"policy\.signers: .* does not fit this Study"):
        rules_of.check(policy(), agreed(), None, signed(agreed(quorum=1)).wire, False, False, site=NAME)


def test_selection_without_a_dealer_is_refused():
    assert decided(agreed(), plan=PICK).startswith("policy.dealer: the plan holds a selection")


@pytest.mark.parametrize("site", ["west", "north"])
def test_roster_must_state_this_sites_cap(site):
    own = policy(donors=CAP + (site == "north"))
    with pytest.raises(Refused, match=r"policy\.donors: a cap of \d+ for (north|west) in the roster, not (None|40)"):
        rules_of.check(own, agreed(), None, signed(agreed()).wire, False, False, site=site)


@pytest.mark.parametrize("trust", ["none", "local"])
def test_what_needs_public_data_is_refused_elsewhere(trust):
    own, study = policy(trust=["none", "local"]), agreed(trust, secure="off")
    assert decided(study, own).startswith("public: ")
    assert decided(study, own, public=True) == ""


def test_seeded_site_needs_public_data():
    assert decided(agreed(), seeded=True).startswith("public: a seeded site")
    assert decided(agreed(), seeded=True, public=True) == ""


@given(st.integers(1, 2), st.integers(1, 4))
def test_least_quorum_is_the_edge(told, least):
    assert (decided(agreed(quorum=told), policy(quorum=least)) == "") == (told >= least)


@given(st.integers(0, 2), st.integers(1, 2))
def test_least_colluders_is_the_edge(told, least):
    assert (decided(private(colluders=told), policy(colluders=least)) == "") == (told >= least)


@given(st.floats(1e-9, 1.6e-3), st.one_of(st.none(), st.floats(1e-9, 1.6e-3)))
def test_greatest_delta_is_the_edge(told, most):
    most = told if most is None else most
    assert (decided(private(delta=told), policy(delta=most)) == "") == (told <= most)


@given(st.floats(0.01, 50), st.one_of(st.none(), st.floats(0.01, 50)))
def test_budget_of_one_study_alone_is_the_edge(told, most):
    most = told if most is None else most
    assert (decided(private(epsilon=told), policy(budget_epsilon=most)) == "") == (told <= most)
