"""A hospital takes part in what it approved, and approves only what its policy, keys and data allow."""

import re

import pytest

from fedgenome.deployment.hospital import approvals, serving, site
from fedgenome.errors import Refused, SpecError
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from tests.deployment_roles.hospitals import SCHEMA, agreed, rules, signed, write_config
from tests.federation.small import CAP, PARTY_IDS, SITE_IDS, make_plan, make_shard

STUDY = agreed()


def test_approved_study_is_admitted_and_no_other(settled):
    config = settled()
    approvals.approve(config, signed(STUDY))
    approvals.admit(config, STUDY, make_plan(STUDY), signed(STUDY).wire)
    other = agreed(quorum=1)
    with pytest.raises(Refused, match=f"not-approved: the hospital has not approved study {other.digest}"):
        approvals.admit(config, other, make_plan(other), signed(other).wire)


def test_approval_is_of_the_whole_study_and_survives_as_it_was_signed(settled):
    config = settled()
    approvals.approve(config, signed(STUDY))
    assert approvals.listed(config.state) == (signed(STUDY),)


def test_stricter_policy_refuses_what_was_approved_before(settled, tmp_path):
    config = settled()
    approvals.approve(config, signed(STUDY))
    write_config(tmp_path, table=rules(delta=1e-6))
    stricter = site.SiteConfig.load(tmp_path / "site.toml")
    with pytest.raises(Refused, match=r"policy\.delta: at most 1e-06"):
        approvals.admit(stricter, STUDY, None, signed(STUDY).wire)


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (signed(STUDY, Identity.generate()), r"policy\.signers"),
        (signed(agreed(quorum=1)), r"policy\.quorum"),
        (signed(agreed(schema=SCHEMA | {"genes": ["A", "Z"]})), r"1 missing: 'Z'"),
        (signed(agreed(schema=SCHEMA | {"labels": ["x", "z"]})), r"got 'y'"),
        (signed(agreed(schema=SCHEMA | {"unit": "row"})), r"unit 'row', got 'donor'"),
    ],
)
def test_study_that_does_not_fit_is_not_approved(settled, made, error):
    config = settled()
    with pytest.raises((Refused, SpecError), match=error):
        approvals.approve(config, made)
    assert approvals.listed(config.state) == ()


def test_study_with_another_key_for_this_site_is_not_approved(settled):
    keys = {"north": Identity.generate().public, "south": SITE_IDS["south"].public}
    swapped = STUDY.with_keys(keys, [one.public for one in PARTY_IDS])
    with pytest.raises(SpecError, match=f"expected north's key {SITE_IDS['north'].public} in the roster"):
        approvals.approve(settled(), signed(swapped))


def test_agent_whose_identity_was_replaced_after_the_approval_says_that_it_cannot_join(settled):
    config = settled()
    keys = {name: one.public for name, one in SITE_IDS.items()}
    approvals.approve(config, made := signed(STUDY.with_keys(keys, [one.public for one in PARTY_IDS])))
    assert serving._rule(config, made) == ""
    (config.state / IDENTITY).unlink()
    Identity.generate().save(config.state / IDENTITY)
    assert re.search(r"expected north's key [0-9a-f]{64} in the roster, got", serving._rule(config, made))


def test_more_donors_than_the_cap_are_told_to_the_hospital(settled):
    with pytest.raises(SpecError, match=f"at most {CAP} donors, as the roster says, got {CAP + 1}"):
        approvals.approve(settled(make_shard(CAP + 1)), signed(STUDY))


def test_roster_without_this_site_is_named(settled):
    with pytest.raises(SpecError, match="expected west in the roster, got north, south"):
        approvals.approve(settled(name="west"), signed(STUDY))


def test_revoked_study_is_approved_no_more(settled):
    config = settled()
    approvals.approve(config, signed(STUDY))
    assert approvals.revoke(config.state, STUDY.digest[:8]) == STUDY.digest
    assert approvals.listed(config.state) == ()


@pytest.mark.parametrize("digest", ["", "0" * 64, STUDY.digest[:7], "../x"], ids=["none", "other", "short", "path"])
def test_revoking_what_is_not_approved_is_an_error_that_says_what_is(settled, digest):
    config = settled()
    approvals.approve(config, signed(STUDY))
    with pytest.raises(SpecError, match=f"expected the digest of one approved study.*{STUDY.digest[:8]}"):
        approvals.revoke(config.state, digest)


def test_file_under_another_digest_is_no_approval(settled):
    config = settled()
    approvals.approve(config, signed(STUDY)).rename(config.state / "approved" / f"{'0' * 64}.json")
    with pytest.raises(SpecError, match="expected the study of this digest"):
        approvals.listed(config.state)


@pytest.mark.parametrize(
    "digest",
    [None, 7, "", "../../identity", STUDY.digest.upper(), STUDY.digest + "/"],
    ids=["null", "number", "none", "path", "capitals", "folder"],
)
def test_what_is_no_digest_is_not_approved(settled, digest):
    config = settled()
    approvals.approve(config, signed(STUDY))
    assert approvals.is_approved(config.state, STUDY.digest) and not approvals.is_approved(config.state, digest)


def test_text_says_who_what_and_at_which_price(settled):
    text = approvals.text(settled(), signed(STUDY))
    for said in (STUDY.digest, "3 genes (A, B, C)", "ε = 5, δ = 0.001", "add or remove one donor", "opened from 2 on"):
        assert said in text
