"""Roster files: what is written is read, and one clear line says what is wrong."""

import pytest

from fedgenome.errors import SpecError
from fedgenome.secure.roster import RosterFile

KEYS = [f"{number:064x}" for number in range(10)]
ROSTER = RosterFile(sites=(("berlin", KEYS[0]), ("vienna", KEYS[1])), parties=tuple(KEYS[2:5]), dealer=KEYS[5])
TABLE = '[[role]]\nrole = "{}"\nname = "{}"\nkey = "{}"\n'


def test_a_roster_is_read_as_it_was_written(tmp_path):
    ROSTER.save(tmp_path / "r.toml")
    assert RosterFile.load(tmp_path / "r.toml") == ROSTER
    with pytest.raises(SpecError, match=r"r\.toml: expected a place for a new roster, File exists"):
        ROSTER.save(tmp_path / "r.toml")


def test_the_digest_is_that_of_names_roles_and_keys(tmp_path):
    text = "".join(TABLE.format(*role) for role in ROSTER.roles[::-1])
    (tmp_path / "r.toml").write_text(text + "# a remark\n")
    turned = RosterFile.load(tmp_path / "r.toml")
    assert (turned.parties, turned.dealer) == (ROSTER.parties, ROSTER.dealer)
    others = [turned, RosterFile(sites=ROSTER.sites, parties=ROSTER.parties)]
    assert len({ROSTER.digest, *(other.digest for other in others)}) == 3


ROLES = [list(role) for role in ROSTER.roles]
WRONG = {
    "no TOML": ("[[role", "expected TOML"),
    "nothing": ("", "tables of role"),
    "another table": ("[role]\nname = 'x'\n", "tables of role"),
    "a field more": (TABLE.format(*ROLES[0]) + "secret = 'x'\n", "tables of role"),
    "another role": (TABLE.format("chief", "x", KEYS[0]), "tables of role"),
    "two parties": ("".join(TABLE.format(*role) for role in ROLES[:4]), "parties named party-0"),
    "no site": ("".join(TABLE.format(*role) for role in ROLES[2:]), "at least one site"),
    "a site twice": ("".join(TABLE.format(*role) for role in [*ROLES, ["site", "berlin", KEYS[8]]]), "every site once"),
    "a key twice": ("".join(TABLE.format(*role) for role in [*ROLES, ["site", "x", KEYS[2]]]), "another key for every"),
    "a short key": ("".join(TABLE.format(*role) for role in [*ROLES, ["site", "x", "00"]]), "64 hex digits"),
    "a bad name": ("".join(TABLE.format(*role) for role in [*ROLES, ["site", "X Y", KEYS[8]]]), "site names of"),
    "two dealers": ("".join(TABLE.format(*role) for role in [*ROLES, ["dealer", "d2", KEYS[8]]]), "at most one dealer"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_roster_is_one_line_that_names_file_and_rule(what, tmp_path):
    text, rule = WRONG[what]
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(SpecError, match=rf"^\S+r\.toml: .*{rule}") as fault:
        RosterFile.load(tmp_path / "r.toml")
    assert "\n" not in str(fault.value)


def test_a_missing_roster_is_said_so(tmp_path):
    with pytest.raises(SpecError, match=r"r\.toml: expected a roster file, No such file"):
        RosterFile.load(tmp_path / "r.toml")
