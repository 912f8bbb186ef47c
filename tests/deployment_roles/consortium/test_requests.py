"""Keys are made at the role and never leave it; a request tells their public halves, and approval checks them."""

import json
import shutil
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.deployment.consortium import nodes, requests
from fedgenome.deployment.consortium.requests import Request
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity
from fedgenome.secure.roster import RosterFile

ROLES = [("site", "site-2", 40), ("site", "site-1", 40), *(("party", f"party-{i}", 0) for i in range(3))]


def keys(*arguments):
    return CliRunner().invoke(app, ["keys", *map(str, arguments)])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Requests of two sites and three parties, by name."""
    folder = tmp_path_factory.mktemp("states")
    return {name: requests.request(folder / name, role, name, cap) for role, name, cap in ROLES}


def test_request_makes_private_keys_that_only_their_owner_reads_and_tells_none_of_them(tmp_path):
    text = requests.request(tmp_path / "s", "site", "berlin", 40).text
    secret = ("identity.pem", "node.key", "socket.key")
    modes = {name: stat.S_IMODE((tmp_path / "s" / name).stat().st_mode) for name in secret}
    assert modes == dict.fromkeys(secret, 0o600) and stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    lines = [line for name in secret for line in (tmp_path / "s" / name).read_text().splitlines() if "---" not in line]
    assert len(lines) > 5 and not any(line in text for line in lines)
    assert len(bytes.fromhex((tmp_path / "s" / "socket.key").read_text())) == 32


def test_asked_again_the_same_keys_give_the_same_request(tmp_path):
    first = requests.request(tmp_path / "s", "site", "berlin", 40)
    kept = (tmp_path / "s" / "socket.key").read_bytes()
    assert requests.request(tmp_path / "s", "site", "berlin", 40).text == first.text
    raised = requests.request(tmp_path / "s", "site", "berlin", 50)
    assert raised.cap == 50 and (raised.identity, raised.node) == (first.identity, first.node)
    assert (tmp_path / "s" / "socket.key").read_bytes() == kept


def test_a_folder_never_changes_its_role_or_name(tmp_path):
    requests.request(tmp_path / "s", "site", "berlin", 40)
    with pytest.raises(SpecError, match=r"expected the keys of site bonn, these are of site berlin"):
        requests.request(tmp_path / "s", "site", "bonn", 40)


def test_node_key_is_the_ecdsa_key_that_openssh_makes_and_reads(tmp_path):
    told = requests.request(tmp_path / "s", "dealer", "dealer")
    key = serialization.load_ssh_private_key((tmp_path / "s" / "node.key").read_bytes(), None)
    assert key.curve.name == "secp384r1"
    assert (tmp_path / "s" / "node.key.pub").read_text() == told.node + "\n"
    if shutil.which("ssh-keygen"):
        command = ["ssh-keygen", "-y", "-f", str(tmp_path / "s" / "node.key")]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == told.node


@pytest.mark.parametrize(
    ("role", "name", "cap", "message"),
    [
        ("site", "party-0", 5, "expected no name of a party or dealer"),
        ("site", "berlin", 0, "cap: expected at least 1"),
        ("party", "berlin", 0, "expected one of party-0, party-1, party-2"),
        ("party", "party-0", 5, "cap: expected none, got 5"),
        ("dealer", "party-0", 0, "name: expected dealer"),
        ("judge", "berlin", 0, "role: expected site, party or dealer, got 'judge'"),
    ],
)
def test_a_name_that_does_not_fit_its_role_makes_no_key(tmp_path, role, name, cap, message):
    with pytest.raises(SpecError, match=message):
        requests.request(tmp_path / "s", role, name, cap)
    assert not (tmp_path / "s").exists()


def test_approved_roster_and_node_list_do_not_depend_on_the_order_of_the_requests(made, tmp_path):
    every = list(made.values())
    first = requests.save(every, tmp_path / "a.toml", tmp_path / "a.json")
    again = requests.save(every[::-1], tmp_path / "a.toml", tmp_path / "a.json")
    assert first.digest == again.digest == RosterFile.load(tmp_path / "a.toml").digest
    listed = nodes.load(tmp_path / "a.json")
    assert {name: (n.role, n.cap, n.key) for name, n in listed.items()} == {
        name: (r.role, r.cap, r.node) for name, r in made.items()
    }


def test_every_field_of_a_request_is_signed(made, tmp_path):
    request, other = made["site-1"], made["site-2"]
    changed = {"name": "site-3", "cap": 41, "identity": other.identity, "node": other.node, "signature": "0" * 128}
    for field, value in changed.items():
        (tmp_path / "r.json").write_text(json.dumps(request.model_dump() | {field: value}))
        with pytest.raises(SpecError, match=r"r\.json: signature: expected that of the request's own identity"):
            Request.load(tmp_path / "r.json")


def test_a_node_key_of_another_kind_is_refused(made):
    identity = Identity.generate()
    for node in ("ecdsa-sha2-nistp384 AAAA", made["site-1"].node.replace("384", "256")):
        with pytest.raises(SpecError, match=r"node: "):
            Request.make("site", "berlin", 4, identity, node)


def swapped(request, **fields):
    """A request of another identity with some fields of ``request``."""
    identity = Identity.generate()
    told = {"role": request.role, "name": "berlin", "cap": request.cap, "identity": identity, "node": request.node}
    return Request.make(**(told | fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda made: [*made.values(), swapped(made["site-1"], name="site-1")],
            "every name once, got the same of site-1",
        ),
        (lambda made: [*made.values(), swapped(made["site-1"])], "every node key once, got the same of site-1, berlin"),
        (lambda made: [r for r in made.values() if r.name != "party-1"], r"got none of party-1$"),
        (lambda made: [r for r in made.values() if r.role != "site"], "at least one site"),
    ],
)
def test_approval_refuses_what_would_count_twice_or_lack_a_party(made, change, message):
    with pytest.raises(SpecError, match=message):
        requests.approve(change(made))


def test_one_identity_under_two_names_is_refused(tmp_path, made):
    requests.request(tmp_path / "s", "site", "berlin", 4)
    identity, node = (
        Identity.load(tmp_path / "s" / "identity.pem"),
        (tmp_path / "s" / "node.key.pub").read_text().strip(),
    )
    twice = [Request.make("site", name, 4, identity, key) for name, key in (("a", node), ("b", made["site-1"].node))]
    with pytest.raises(SpecError, match="every identity once, got the same of a, b"):
        requests.approve(twice)


def test_request_and_approve_from_the_command_line(tmp_path):
    for role, name, cap in ROLES:
        done = keys(
            "request", tmp_path / name, "--role", role, "--name", name, "--cap", cap, "--out", tmp_path / f"{name}.json"
        )
        assert done.exit_code == 0, done.output
    piped = keys("request", tmp_path / "site-1", "--role", "site", "--name", "site-1", "--cap", 40)
    assert piped.stdout == (tmp_path / "site-1.json").read_text() and "identity" in piped.stderr
    files = [tmp_path / f"{name}.json" for _, name, _ in ROLES]
    told = ("--roster", tmp_path / "r.toml", "--nodes", tmp_path / "n.json", "--node-keys", tmp_path / "keys")
    approved = keys("approve", *files, *told)
    assert approved.exit_code == 0 and RosterFile.load(tmp_path / "r.toml").digest in approved.stdout
    assert requests.Request.load(files[0]).fingerprints[0] in approved.stdout
    assert (tmp_path / "keys" / "party-1.pub").read_bytes() == (tmp_path / "party-1" / "node.key.pub").read_bytes()
    other = keys("approve", *files[1:], *told)
    assert other.exit_code == 2 and "a roster is never replaced" in other.output
