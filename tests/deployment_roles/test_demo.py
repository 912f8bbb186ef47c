"""What the demonstration's roles write for themselves."""

import tomllib

import pytest

from fedgenome import toml
from fedgenome.deployment import demo
from fedgenome.errors import RoleError
from fedgenome.secure.identity import Identity
from fedgenome.secure.roster import RosterFile

TRUSTED = {"signers": ["aa" * 32], "parties": ["bb" * 32, "cc" * 32, "dd" * 32], "dealer": "ee" * 32}
STUDY = {
    "quorum": 4,
    "privacy": {"trust": "distributed", "epsilon": 3.0, "delta": 1e-4, "colluders": 1},
    "methods": [{"kind": "marginals"}, {"kind": "cvae"}],
}
PROPOSAL = {"cap": 400, "seed": None, "donor": None}


def test_hospital_allows_what_the_study_asks_and_no_more():
    told = tomllib.loads(demo.site_config("site-2", STUDY, TRUSTED, PROPOSAL))
    assert told["name"] == "site-2" and told["public"] is True and "seed" not in told and "donor" not in told["cohort"]
    assert told["policy"] == TRUSTED | {
        "quorum": 4,
        "colluders": 1,
        "methods": ["cvae", "marginals"],
        "trust": ["distributed"],
        "delta": 1e-4,
        "donors": 400,
        "budget_epsilon": 30.0,
    }


def test_seeded_demonstration_is_seeded_everywhere_and_without_budget():
    seeded = PROPOSAL | {"seed": 7}
    site = tomllib.loads(demo.site_config("site-1", STUDY, TRUSTED, seeded))
    party = tomllib.loads(demo.party_config(1, TRUSTED, seeded))
    assert (site["seed"], party["seed"], party["public"]) == (7, 7, True)
    assert "budget_epsilon" not in site["policy"]


def test_parties_and_dealer_name_one_another_by_service():
    party, dealer = (
        tomllib.loads(text) for text in (demo.party_config(2, TRUSTED, PROPOSAL), demo.dealer_config(TRUSTED))
    )
    assert party["peers"] == dealer["peers"] == ["party-0:9100", "party-1:9100", "party-2:9100"]
    assert party["index"] == 2 and "index" not in dealer and party["listen"] == "0.0.0.0:9100"


def test_anchors_are_the_roster_s_keys_and_the_signer(tmp_path):
    keys = [Identity.generate().public for _ in range(6)]
    RosterFile(sites=(("site-1", keys[0]),), parties=tuple(keys[1:4]), dealer=keys[4]).save(tmp_path / "roster.toml")
    told = demo.anchors(tmp_path / "roster.toml", keys[5])
    assert told == {"signers": [keys[5]], "parties": keys[1:4], "dealer": keys[4]}


def test_toml_reads_back():
    told = {"text": 'a "quoted" \\ β', "number": 1e-4, "list": ["x", "y"], "flag": False, "table": {"n": 3}}
    assert tomllib.loads(toml.text(told | {"absent": None})) == told


def test_waiting_for_another_role_ends_with_its_file_s_name(tmp_path):
    with pytest.raises(RoleError, match=r"study\.json: expected within 0\.01 s"):
        demo.wait(tmp_path / "study.json", 0.01)
    (tmp_path / "study.json").write_bytes(b"here")
    assert demo.wait(tmp_path / "study.json", 0.01) == b"here"


def test_shards_go_to_their_hospitals_and_the_key_to_the_coordinator(tmp_path):
    folders = [tmp_path / "deal", tmp_path / "desk", tmp_path / "shards" / "site-1", tmp_path / "shards" / "site-2"]
    for folder in folders:
        folder.mkdir(parents=True)
    for name, blob in (("site-1.h5ad", b"one"), ("site-2.h5ad", b"two"), ("deal", b"key")):
        (folders[0] / name).write_bytes(blob)
    demo.hand_out(folders[0], tmp_path / "shards", folders[1], 2)
    assert [(folder / "cohort.h5ad").read_bytes() for folder in folders[2:]] == [b"one", b"two"]
    assert (folders[1] / "deal").read_bytes() == b"key"
