"""Impostors: a hospital that nobody registered, and somebody on the parties' network without a roster's key.

The parties' port is open while the four meet, which is when a run of a Study with a dealer begins. Such a run is driven
by hand here: the parties are told to meet, the dealer is told last, and in between everybody may try.
"""

import base64
import contextlib
import json
import time

import pytest

from fedgenome import __version__
from fedgenome.deployment.compose import PARTY_PORT, network
from fedgenome.secure.group import meeting
from fedgenome.study import Plan
from tests.deployment import mutations
from tests.deployment.driving import Drive, public, signatures
from tests.deployment.intruders import COMPUTING, Container, held, listening, noted, stranger
from tests.deployment.project import docker

PARTIES = COMPUTING[:3]
TRIED = 1000
# A relay with a key of its own making; prints what the SuperNode said before it ended.
UNREGISTERED = """
import json, os, subprocess
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
os.chdir("/tmp")
key = ec.generate_private_key(ec.SECP384R1())
with open("node.key", "wb") as file:
    file.write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()))
command = ["flower-supernode", "--superlink", "superlink:9092", "--root-certificates", "/public/ca.crt",
           "--auth-supernode-private-key", "node.key", "--trusted-entities", "/public/trusted.yaml",
           "--host", "127.0.0.1", "--port", "9094"]
with open("said", "wb") as said:  # no pipe: what it started outlives it for a while
    ended = subprocess.run(command, stdout=said, stderr=said, timeout=240)
print(json.dumps([ended.returncode, open("said").read()]))"""
# On a party's own interfaces: keeps what callers send to its port, by their address; ends with its standard input.
SNIFFER = """
import base64, json, socket, struct, sys, threading
port = int(sys.argv[1])
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
streams = {}
def listen():
    while True:
        packet = link.recv(1 << 17)
        if packet[12:14] != b"\\x08\\0" or packet[23] != 6:
            continue
        start = 14 + (packet[14] & 15) * 4
        source, target, number = struct.unpack_from(">HHI", packet, start)
        words = packet[start + (packet[start + 12] >> 4) * 4:14 + struct.unpack_from(">H", packet, 16)[0]]
        if target == port and words:
            streams.setdefault(f"{socket.inet_ntoa(packet[26:30])}:{source}", {})[number] = words
threading.Thread(target=listen, daemon=True).start()
print("sniffing", flush=True)
sys.stdin.read()
joined = [b"".join(parts[n] for n in sorted(parts)) for parts in streams.values()]
print(json.dumps([base64.b64encode(stream).decode() for stream in joined]))"""
# Somebody on the parties' network, with what was overheard of party 1's call to party 0: tries to be let in.
IMPOSTOR = """
import base64, json, socket, ssl, sys
from concurrent.futures import ThreadPoolExecutor
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fedgenome.secure import links
from fedgenome.secure.generators import Meeting, Pass
told = json.load(sys.stdin)
true, overheard = Meeting(**told["meeting"]), base64.b64decode(told["overheard"])
address = ("party-0", told["port"])

def made(rank):  # a pass of a meeting in which the rank's identity is ours
    key = Ed25519PrivateKey.generate()
    keys = list(true.identities)
    keys[rank] = key.public_key().public_bytes_raw().hex()
    return Pass.make(Meeting(session=true.session, identities=keys, addresses=true.addresses), rank, key)

def greet(rank, shown, own):
    with socket.create_connection(address, 15) as raw:
        raw.settimeout(15)
        raw.sendall(links.HELLO.pack(b"FGTL", 1, rank, len(shown)) + shown)
        theirs = links._read(raw, links.HELLO.unpack(links._read(raw, links.HELLO.size))[3])[96:]
        with links._context(own, theirs, server=False).wrap_socket(raw) as tls:
            return bool(tls.recv(links.HEAD.size))

def sent(words, secure=False):
    settings = ssl.create_default_context()
    settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, 15) as raw:
        raw.settimeout(15)
        link = settings.wrap_socket(raw) if secure else raw
        link.sendall(words)
        if not secure:
            link.shutdown(socket.SHUT_WR)
        heard = b""
        while block := link.recv(4096):
            heard += block
        return len(heard) > told["most"]  # more than its pass and its half of a handshake: no WELCOME is that short

def refused(attempt):
    try:
        return not attempt()
    except Exception:
        return True

rank, size = overheard[5], int.from_bytes(overheard[6:8], "big")
shown = overheard[8:8 + size]
attempts = {
    "no roster key, as the dealer": [lambda: greet(3, made(3).shown, made(3))],
    "no roster key, as party 1 and 2": [lambda r=r: greet(r, made(r).shown, made(r)) for r in (1, 2)],
    "party 1's certificate without its key": [lambda: greet(rank, shown, made(rank))],
    "party 1's pass as another role": [lambda r=r: greet(r, shown, made(r)) for r in (0, 2, 3)],
    "party 1's handshake again": [lambda: sent(overheard)] * 5,
    "TLS without a certificate": [lambda: sent(b"GET / HTTP/1.1\\r\\n\\r\\n", True)] * 3,
    "HTTP": [lambda: sent(b"GET / HTTP/1.1\\r\\nHost: party-0\\r\\n\\r\\n")] * 3,
    "mutated handshakes": [lambda b=b: sent(base64.b64decode(b)) for b in told["mutants"]],
}
with ThreadPoolExecutor(16) as pool:
    print(json.dumps({name: [len(each), each and sum(not one for one in pool.map(refused, each))]
                      for name, each in attempts.items()}))"""


def test_a_hospital_that_nobody_registered_is_turned_away(federation, measured):
    with stranger(federation, network("site-1"), image="relay", public="public") as hospital:
        code, said = hospital.run(UNREGISTERED)
    noted(measured, "a relay whose key was never registered", "SuperLink's port 9092", 1, code == 0, f"exit {code}")
    assert code != 0 and "Failed to activate SuperNode" in said


@contextlib.contextmanager
def sniffed(project, service, kept):
    """Record what is sent to a party's port; ``kept`` gets the streams when this ends."""
    name, network_of = f"{project.name}_sniffer", f"container:{project.container(service)}"
    walls = ("--user", "0", "--cap-drop", "ALL", "--cap-add", "NET_RAW", "--network", network_of)
    docker("run", "-d", "--rm", "--init", "--name", name, *walls, "--entrypoint", "sleep",
           f"fedgenome-party:{__version__}", "infinity")  # fmt: skip
    try:
        sniffer = Container(id=name).start(SNIFFER, str(PARTY_PORT))
        assert sniffer.stdout.readline() == "sniffing\n", sniffer.stderr.read()
        yield
        out, _ = sniffer.communicate("", timeout=60)
        kept += [base64.b64decode(one) for one in json.loads(out)]
    finally:
        docker("rm", "-f", name, check=False)


@pytest.fixture(scope="module")
def waiting(federation):
    """A drive whose parties met one another and wait for the dealer; and what party 1 said to party 0."""
    own = Drive.of(federation, Plan())
    study = own.study.with_keys(own.study.keys.keys, own.study.parties, public(federation, "anchors.json")["dealer"])
    drive = Drive(project=federation, study=study, plan=Plan(), signed=signatures(federation, study))
    overheard = []
    with sniffed(federation, "party-0", overheard):
        assert [drive.join(party).refusal for party in PARTIES] == [None] * 3
        for party in reversed(PARTIES):
            drive.pin(party)
        await_links(federation, 2)
    yield drive, next(one for one in overheard if one[:6] == b"FGTL\x01\x01")
    drive.close(*COMPUTING)


def links_of(project):
    """Return how many connections stand at party 0's port."""
    code = f"""
lines = [line.split() for line in open("/proc/net/tcp").read().splitlines()[1:]]
print(sum(line[1].endswith(":{PARTY_PORT:04X}") and line[3] == "01" for line in lines))"""
    return int(project.python("party-0", code).stdout)


def await_links(project, wanted, seconds=100):
    deadline = time.monotonic() + seconds
    while links_of(project) < wanted:
        assert time.monotonic() < deadline, f"{links_of(project)} of {wanted} links"
        time.sleep(0.5)


def test_nobody_meets_the_parties_without_a_roster_s_key_and_the_dealer_still_does(federation, waiting, measured):
    drive, overheard = waiting
    assert f"tcp 0.0.0.0:{PARTY_PORT}" in listening(federation, "party-0")
    where = meeting(drive.study.digest, drive.run, drive.study.terms(drive.plan),
                    (*drive.study.parties, drive.study.dealer), ["party-0:1", "party-1:1", "party-2:1"])  # fmt: skip
    mutants = [base64.b64encode(blob).decode() for _, blob in mutations.mutants([overheard], TRIED, seed=9)]
    told = {"meeting": {"session": where.session, "identities": where.identities, "addresses": where.addresses}}
    told |= {"overheard": base64.b64encode(overheard).decode(), "mutants": mutants, "port": PARTY_PORT, "most": 4096}
    before = held(federation, "party-0", "party_process")
    with stranger(federation, "mpc", image="party") as impostor:
        outcome = impostor.run(IMPOSTOR, told=told)
    for who, (messages, accepted) in outcome.items():
        noted(measured, f"an impostor: {who}", "party-0's port 9100", messages, accepted)
    assert drive.join("dealer").refusal is None
    await_links(federation, 3)
    after = held(federation, "party-0", "party_process")
    assert not any(accepted for _, accepted in outcome.values()) and outcome["mutated handshakes"][0] == TRIED
    assert after.files.keys() == before.files.keys() and sum(after.files.values()) <= sum(before.files.values()) + 2
    assert f"tcp 0.0.0.0:{PARTY_PORT}" not in listening(federation, "party-0")
