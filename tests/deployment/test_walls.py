"""Who can reach whom, and what a container may do: the walls of docker-compose.yml, probed from inside."""

import itertools

import pytest

from fedgenome.deployment import compose
from fedgenome.deployment.compose import PARTY_PORT, SUPERLINK_PORT
from tests.deployment.project import inspect

ROLES = compose.roles_of(2)
SERVICES = tuple(compose.document(2)["services"])
COMPUTING = ("party-0", "party-1", "party-2", "dealer")
LISTENER = """
import socket, threading, time
def serve(port):
    with socket.create_server(("0.0.0.0", port)) as server:
        while True:
            server.accept()[0].close()
for port in ({superlink}, {party}):
    threading.Thread(target=serve, args=(port,), daemon=True).start()
time.sleep(3600)"""
PROBE = """
import socket
from concurrent.futures import ThreadPoolExecutor
def reach(there):
    try:
        socket.create_connection(there, 3).close()
        return there[0]
    except OSError:
        return None
with ThreadPoolExecutor(64) as pool:
    print(*filter(None, pool.map(reach, {asked!r})))"""


def relay_of(role):
    return f"relay-{role.removeprefix('site-')}" if role.startswith("site-") else f"relay-{role}"


def addresses(project, service):
    """Return a service's address in every network it is in."""
    networks = inspect("container", project.container(service))["NetworkSettings"]["Networks"]
    return [one["IPAddress"] for one in networks.values() if one["IPAddress"]]


@pytest.fixture(scope="module")
def listening(idle):
    """The idle federation, with something that listens on both ports in every container that has a network."""
    code = LISTENER.format(superlink=SUPERLINK_PORT, party=PARTY_PORT)
    for service in SERVICES:
        if addresses(idle, service):
            idle.run_in(service, "sh", "-c", f"exec python3 -c '{code}' > /dev/null 2>&1 &")
    return idle


def reached(project, source, wanted=SERVICES):
    """Return which services ``source`` reaches by address, on either port, and the outside if it does."""
    named = {address: one for one in wanted for address in addresses(project, one) if one != source}
    named["192.0.2.1"] = named["8.8.8.8"] = "outside"
    asked = list(itertools.product(named, (SUPERLINK_PORT, PARTY_PORT)))
    found = project.python(source, PROBE.format(asked=asked))
    assert found.returncode == 0, found.stderr
    return {named[address] for address in found.stdout.split()}


@pytest.mark.parametrize("role", ROLES)
def test_relay_reaches_the_superlink_and_nobody_else(listening, role):
    assert reached(listening, relay_of(role)) == {"superlink"}


@pytest.mark.parametrize("role", COMPUTING)
def test_computing_roles_reach_one_another_and_nobody_else(listening, role):
    assert reached(listening, role) == set(COMPUTING) - {role}


def test_coordinator_reaches_the_superlink_and_nobody_else(listening):
    assert reached(listening, "coordinator") == {"superlink"}


@pytest.mark.parametrize("service", ["agent-1", "agent-2", "consortium"])
def test_agents_and_consortium_have_no_network(idle, service):
    assert addresses(idle, service) == []
    code = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert idle.python(service, code).stdout.strip() == "['lo']"


def test_every_network_is_internal_and_publishes_no_port(idle):
    for name in idle.config()["networks"]:
        assert inspect("network", f"{idle.name}_{name}")["Internal"] is True
    published = {one: inspect("container", idle.container(one))["NetworkSettings"]["Ports"] for one in SERVICES}
    assert not any(any(ports.values()) for ports in published.values() if ports)


@pytest.mark.parametrize("service", SERVICES)
def test_container_has_no_capability_no_new_privileges_and_bounds(idle, service):
    host = inspect("container", idle.container(service))["HostConfig"]
    assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"] and not host["Privileged"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0 and host["PidsLimit"] > 0 and host["LogConfig"]["Config"]["max-size"]
    status = idle.run_in(service, "cat", "/proc/self/status").stdout
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status


def test_each_hospital_s_shard_is_in_its_own_agent_alone_and_read_only(idle):
    mounts = {one: inspect("container", idle.container(one))["Mounts"] for one in SERVICES}
    for number in (1, 2):
        volume = f"{idle.name}_shard-site-{number}"
        holders = {one: m["RW"] for one, every in mounts.items() for m in every if m.get("Name") == volume}
        assert holders == {f"agent-{number}": False, "consortium": True}


def test_private_state_is_in_one_container_alone(idle):
    mounts = {one: inspect("container", idle.container(one))["Mounts"] for one in SERVICES}
    for volume in (f"{idle.name}_state-{role}" for role in (*ROLES, "consortium", "superlink")):
        assert len([one for one, every in mounts.items() for m in every if m.get("Name") == volume]) == 1


def test_public_facts_are_written_by_the_consortium_alone(idle):
    assert idle.run_in("consortium", "sh", "-c", "echo fact > /public/probe").returncode == 0
    for service in sorted(set(SERVICES) - {"consortium"}):
        assert idle.run_in(service, "cat", "/public/probe").stdout == "fact\n"
        refused = idle.run_in(service, "sh", "-c", "echo other > /public/probe")
        assert refused.returncode != 0 and "Read-only" in refused.stderr


@pytest.mark.parametrize("folder", ["/state", "/link", "/outbox"])
@pytest.mark.parametrize("service", ["agent-1", "party-0", "dealer"])
def test_role_can_write_its_own_volumes(idle, service, folder):
    assert idle.run_in(service, "touch", f"{folder}/probe").returncode == 0


def test_consortium_can_write_a_shard_that_its_agent_only_reads(idle):
    assert idle.run_in("consortium", "sh", "-c", "echo cells > /shards/site-1/cohort.h5ad").returncode == 0
    assert idle.run_in("agent-1", "cat", "/data/cohort.h5ad").stdout == "cells\n"
    assert "Read-only" in idle.run_in("agent-1", "touch", "/data/probe").stderr


def test_relay_sees_the_socket_key_and_neither_data_nor_identity(idle):
    assert idle.run_in("agent-1", "sh", "-c", "umask 077; echo key > /link/socket.key").returncode == 0
    assert idle.run_in("relay-1", "cat", "/link/socket.key").stdout == "key\n"
    held = {mount["Destination"] for mount in inspect("container", idle.container("relay-1"))["Mounts"]}
    assert held == {"/link", "/public"}


def test_relay_connects_to_a_socket_on_its_read_only_mount(idle):
    server = """
import socket
with socket.socket(socket.AF_UNIX) as s:
    s.bind("/link/agents.sock"); s.listen()
    s.accept()[0].sendall(b"here")"""
    idle.run_in("agent-1", "sh", "-c", f"rm -f /link/agents.sock; python3 -c '{server}' > /link/log 2>&1 &")
    client = """
import socket, time
for _ in range(50):
    try:
        s = socket.socket(socket.AF_UNIX); s.connect("/link/agents.sock"); break
    except OSError:
        time.sleep(.1)
print(s.recv(4))"""
    assert idle.python("relay-1", client).stdout.strip() == "b'here'"


def test_tls_key_is_the_superlink_s_alone(idle):
    told = idle.config()["services"]
    holders = {name for name, one in told.items() if "server.key" in [s["source"] for s in one.get("secrets", ())]}
    assert holders == {"superlink"}
    assert "PRIVATE KEY" in idle.run_in("superlink", "cat", "/run/secrets/server.key").stdout
