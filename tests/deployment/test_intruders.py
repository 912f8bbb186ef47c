"""What listens in every container, and what a stranger on its networks gets from that: nothing.

Ports are those that docs/deployment.md states; the test reads its table.
"""

import re

import pytest

from fedgenome.deployment import compose
from tests.deployment.intruders import ROLES, inside, listening, noted, relay_of, service_of, stranger
from tests.deployment.project import inspect

SOCKET = "unix /link/agents.sock"
# One client a line: what is sent to host and port, over TLS if "tls", and how the answer begins.
CLIENT = """
import json, socket, ssl, sys
told = json.load(sys.stdin)
answers = []
for host, port, words, tls in told:
    try:
        with socket.create_connection((host, port), 10) as link:
            link.settimeout(10)
            if tls:
                settings = ssl.create_default_context()
                settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
                link = settings.wrap_socket(link)
            link.sendall(words.encode("latin-1"))
            answers.append(link.recv(4096).decode("latin-1"))
    except OSError as fault:
        answers.append(f"!{type(fault).__name__}")
print(json.dumps(answers))"""
PLAIN = {
    "HTTP/1.1": "GET /health HTTP/1.1\r\nHost: there\r\n\r\n",
    "HTTP/1.1 POST": "POST /v1/runtime/pull-messages HTTP/1.1\r\nHost: there\r\nContent-Length: 0\r\n\r\n",
    "gRPC over HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
}


@pytest.fixture(scope="module")
def outside(federation):
    """A stranger's container in every network of the federation."""
    with stranger(federation, "coordinator", "mpc", *map(compose.network, ROLES)) as container:
        yield container


def addresses(project, service):
    networks = inspect("container", project.container(service))["NetworkSettings"]["Networks"]
    return [one["IPAddress"] for one in networks.values() if one["IPAddress"]]


def promised(repository):
    """Return what docs/deployment.md says that each kind of container listens on, at rest."""
    page = (repository / "docs" / "deployment.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", page.partition("| listens on |")[2], re.MULTILINE)
    at_rest = {name: words.partition("; while")[0] for name, words in rows}
    return {name: sorted(re.findall(r"`([^`]+)`", words)) for name, words in at_rest.items()}


def kind_of(service):
    """Return a service's row of the page's table."""
    if service.startswith("relay"):
        return "hospital: relay" if service[6:].isdecimal() else "relay of a party or the dealer"
    return {"agent": "hospital: agent", "superlink": "coordinator (SuperLink)"}.get(
        service.partition("-")[0], service.partition("-")[0]
    )


@pytest.mark.parametrize("service", ["superlink", *map(service_of, ROLES), *map(relay_of, ROLES)])
def test_a_container_listens_where_the_page_says_and_nowhere_else(federation, repository, service):
    found = [one.removeprefix("tcp ").removeprefix("unix ") for one in listening(federation, service)]
    assert found == promised(repository)[kind_of(service)]


@pytest.mark.parametrize("plain", PLAIN)
def test_a_client_without_tls_gets_nothing_from_the_superlink(outside, measured, plain):
    (answer,) = outside.run(CLIENT, told=[["superlink", compose.SUPERLINK_PORT, PLAIN[plain], False]])
    accepted = answer.startswith(("HTTP/", "\0\0"))
    noted(measured, f"{plain} without TLS", "SuperLink's port 9092", 1, accepted)
    assert not accepted


def test_nobody_reaches_a_loopback_port_of_another_container(federation, outside, measured):
    hidden = [("superlink", 8099), *((relay_of(role), 9094) for role in ROLES)]
    asked = [[there, port, PLAIN["HTTP/1.1"], False] for one, port in hidden for there in addresses(federation, one)]
    answers = outside.run(CLIENT, told=asked)
    accepted = sum(answer != "!ConnectionRefusedError" for answer in answers)
    noted(measured, "a client in every network", "loopback ports 8099 and 9094", len(asked), accepted)
    assert len(asked) > len(ROLES) and not accepted


def test_a_party_at_rest_refuses_connections(federation, outside, measured):
    asked = [[f"party-{index}", compose.PARTY_PORT, PLAIN["HTTP/1.1"], tls] for index in range(3) for tls in (0, 1)]
    answers = outside.run(CLIENT, told=asked)
    accepted = sum(answer != "!ConnectionRefusedError" for answer in answers)
    noted(measured, "a client without a certificate", "parties' port 9100 at rest", len(asked), accepted)
    assert not accepted


@pytest.mark.parametrize("path", ["pull-messages", "push-messages", "pull-task-input", "get-nodes", "acquire-task"])
@pytest.mark.parametrize("where", ["superlink", "relay-1"])
def test_flower_s_runtime_gives_nothing_without_a_task_s_token(federation, outside, where, path, measured):
    words = f"POST /v1/runtime/{path} HTTP/1.1\r\nHost: there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    if where == "superlink":
        (answer,) = outside.run(CLIENT, told=[["superlink", compose.SUPERLINK_PORT, words, True]])
    else:
        (answer,) = inside(federation, where).run(CLIENT, told=[["127.0.0.1", 9094, words, False]])
    accepted = not answer.startswith(("HTTP/1.1 4", "!"))
    noted(measured, "a client without a task's token", f"Flower's runtime at {where}: {path}", 1, accepted)
    assert not accepted, answer[:200]
