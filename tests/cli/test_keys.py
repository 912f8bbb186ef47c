"""``fedgenome keys``: identities and rosters from the command line; a private key is never printed."""

import json

import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.secure.identity import Identity


def keys(*arguments):
    return CliRunner().invoke(app, ["keys", *map(str, arguments)])


@pytest.fixture
def publics(tmp_path):
    """Five identities and what ``new`` printed of each."""
    return [keys("new", tmp_path / f"{number}.pem").stdout.strip() for number in range(5)]


def test_new_prints_the_public_key_of_what_it_writes_and_show_repeats_it(publics, tmp_path):
    identity = Identity.load(tmp_path / "0.pem")
    assert publics[0] == identity.public == keys("show", tmp_path / "0.pem").stdout.strip()
    shown = keys("show", tmp_path / "0.pem", "--json").stdout
    assert json.loads(shown) == {"public": identity.public} and identity.key.private_bytes_raw().hex() not in shown


def test_new_never_overwrites(publics, tmp_path):
    again = keys("new", tmp_path / "0.pem")
    assert again.exit_code == 2 and "never overwritten" in again.output
    assert Identity.load(tmp_path / "0.pem").public == publics[0]


def test_show_of_another_file_is_one_line(tmp_path):
    (tmp_path / "x").write_text("GATTACA")
    (tmp_path / "x").chmod(0o600)
    shown = keys("show", tmp_path / "x")
    assert shown.exit_code == 2 and len(shown.output.strip().splitlines()) == 1 and "GATTACA" not in shown.output


def test_roster_is_written_checked_and_printed_with_its_digest(publics, tmp_path):
    site, *parties, dealer = publics
    roles = [part for key in parties for part in ("--party", key)]
    made = keys("roster", tmp_path / "r.toml", "--site", f"berlin={site}", *roles, "--dealer", dealer)
    assert made.exit_code == 0, made.output
    assert keys("roster", tmp_path / "r.toml").stdout == made.stdout
    told = json.loads(keys("roster", tmp_path / "r.toml", "--json").stdout)
    assert told["digest"] in made.stdout and ["site", "berlin", site] in told["roles"] and len(told["roles"]) == 5


def test_wrong_roster_is_refused_and_leaves_no_file(publics, tmp_path):
    made = keys("roster", tmp_path / "r.toml", "--site", f"berlin={publics[0]}", "--party", publics[0])
    assert made.exit_code == 2 and "3 party keys" in made.output and not (tmp_path / "r.toml").exists()
