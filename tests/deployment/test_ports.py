"""A thousand mutated requests at every port of every kind of container: none is accepted, and the server goes on."""

import time

import pytest
from flwr.proto.fleet_pb2 import ActivateNodeRequest, PullMessagesRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest

from fedgenome.deployment.compose import SUPERLINK_PORT, network
from tests.deployment import mutations
from tests.deployment.intruders import encoded, held, inside, noted, stranger

MESSAGES = 1000
MOST_KIB = 96 << 10  # of growth
MOST_FILES = 24  # a server's pools of threads and database connections grow to their size
# Sends each of the bytes to a port and prints how the answers begin, "" for none: half a request is waited for. The
# socket is left open meanwhile: a server need not answer who hung up.
SEND = """
import base64, json, socket, ssl, sys
from concurrent.futures import ThreadPoolExecutor
host, port, tls = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "tls"
settings = ssl.create_default_context()
settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
def send(blob):
    heard = b""
    try:
        with socket.create_connection((host, port), 20) as link:
            link = settings.wrap_socket(link) if tls else link
            link.settimeout(10)
            link.sendall(base64.b64decode(blob))
            while len(heard) < 12 and (block := link.recv(4096)):
                heard += block
    except OSError:
        pass
    return heard[:12].decode("latin-1")
with ThreadPoolExecutor(int(sys.argv[4])) as pool:
    print(json.dumps(list(pool.map(send, json.load(sys.stdin)))))"""
SIGNED = {"flwr-public-key": "AAAA", "flwr-signature": "AAAA", "flwr-timestamp": "2026-11-22T00:00:00+00:00"}


def post(path, body, **headers):
    """Return a POST request's bytes."""
    told = {"Host": "superlink", "Content-Type": "application/x-protobuf", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


RUNTIME = post("/v1/runtime/pull-messages", PullAppMessagesRequest(message_ids=["a" * 64]).SerializeToString())
PORTS = {
    "9092": [
        post("/v1/fleet/activate-node", ActivateNodeRequest(public_key=b"k" * 120).SerializeToString(), **SIGNED),
        post("/v1/fleet/pull-messages", PullMessagesRequest(message_ids=["a" * 64]).SerializeToString(), **SIGNED),
        RUNTIME,
    ],
    "9094": [RUNTIME],
    "8099": [post("/hub/fetch-fab", b'{"app_id": "@other/app", "app_version": "0.1.0"}')],
}
# Whose port it is, and which of its processes are looked at.
SUPERLINK = ("superlink", "flower-superlink|app serve")
AT_ONCE = {"8099": "12"}  # the hub turns away whom it finds with 16 others; half a request keeps its place for seconds
SERVED = {"9094": ("relay-1", "flower-supernode")}


@pytest.fixture(scope="module")
def outside(federation):
    """A stranger's container where a hospital's relay is."""
    with stranger(federation, network("site-1")) as container:
        yield container


@pytest.fixture
def send(federation, outside, port):
    """Send bytes to a port of the SuperLink from outside, to a loopback port from inside; return the answers' heads."""
    there, host, tls = inside(federation, SERVED.get(port, SUPERLINK)[0]), "127.0.0.1", ""
    if port == str(SUPERLINK_PORT):
        there, host, tls = outside, "superlink", "tls"
    return lambda blobs: there.run(SEND, host, port, tls, AT_ONCE.get(port, "64"), told=encoded(blobs), seconds=900)


def all_answered(answers):
    return all(answer.startswith("HTTP/1.") for answer in answers)


@pytest.mark.parametrize("port", PORTS)
def test_a_thousand_mutated_requests_are_accepted_by_no_port(federation, send, measured, port):
    service, words = SERVED.get(port, SUPERLINK)
    blobs = [blob for _, blob in mutations.mutants(PORTS[port], MESSAGES, seed=int(port))]
    assert all_answered(send(PORTS[port]))  # it hears what is answered
    send(blobs[:200])  # what grows once, grows here
    before, answers = held(federation, service, words), send(blobs)
    time.sleep(5)
    after, heard = held(federation, service, words), sum(map(bool, answers))
    accepted = sum(answer.startswith(("HTTP/1.1 2", "HTTP/1.0 2")) for answer in answers)
    told = f"{heard} answered, none with success; {before.text} before, {after.text} after"
    noted(measured, "mutated requests", f"port {port}", MESSAGES, accepted, told)
    assert accepted == 0 and heard > MESSAGES / 5 and all_answered(send(PORTS[port]))
    assert after.files.keys() == before.files.keys()
    assert sum(after.files.values()) - sum(before.files.values()) <= MOST_FILES
    assert sum(after.kib.values()) - sum(before.kib.values()) < MOST_KIB
