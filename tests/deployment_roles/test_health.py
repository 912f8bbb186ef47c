"""A container's health check tells the living role from a dead, stopped or foreign one, and imports next to nothing."""

import contextlib
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fedgenome.deployment import health
from fedgenome.deployment.consortium import certificates
from fedgenome.federation import agents
from fedgenome.federation.wire import Call, refusal

KEY = bytes(range(32))
CONFIGS = {"site-1": 'name = "site-1"\n', "party-2": "index = 2\n", "dealer": ""}


@pytest.fixture
def configured(tmp_path):
    def write(name):
        (tmp_path / "socket.key").write_text(KEY.hex() + "\n")
        (tmp_path / "role.toml").write_text(f'state = "."\nsocket = "s"\n{CONFIGS[name]}')
        return tmp_path / "role.toml"

    return write


@pytest.mark.parametrize("name", CONFIGS)
def test_role_that_says_its_name_is_well_and_one_that_is_gone_is_not(configured, name):
    file = configured(name)
    with agents.listening([lambda kind, _: Call(header={"site": name})], file.parent / "s", KEY):
        assert health.main(["role", str(file)]) == 0
    assert health.main(["role", str(file)]) == 1


@pytest.mark.parametrize(
    ("key", "answer", "why"),
    [
        (KEY, Call(header={"site": "site-2"}), "site-2 answers on the socket, expected site-1"),
        (KEY, refusal("role-failed", "ended"), "None answers on the socket"),
        (KEY[::-1], Call(header={"site": "site-1"}), "ValueError: digest sent was rejected"),
    ],
    ids=["another", "refusing", "of another key"],
)
def test_whoever_else_answers_is_not_well(configured, key, answer, why):
    file = configured("site-1")
    with agents.listening([lambda *_: answer], file.parent / "s", key):
        assert why in health.role(file)


def test_role_that_stopped_is_not_waited_for(configured):
    file = configured("site-1")
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(file.parent / "s"))
        stopped.listen()
        assert "TimeoutError: no answer within 0.05 s" in health.role(file, 0.05)


@pytest.mark.parametrize("text", ["", "name = ", 'state = 3\nsocket = "s"\n'])
def test_wrong_configuration_is_told_in_a_line(configured, text):
    file = configured("site-1")
    file.write_text(text)
    assert health.role(file).startswith(f"{file}: ")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def web(folder=None):
    """Serve /health on loopback, with the certificate in ``folder`` if there is one; yields the port."""
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        if folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.crt", folder / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_superlink_and_hub_must_both_answer_under_the_authority(tmp_path):
    for name in ("ours", "theirs"):
        certificates.make(tmp_path / name, ["localhost"])
    with web(tmp_path / "ours") as link, web() as hub:
        assert health.superlink(link, hub, tmp_path / "ours" / "ca.crt") == ""
        assert "the consortium renews it" in health.superlink(link, hub, tmp_path / "theirs" / "ca.crt")
    with web(tmp_path / "ours") as link:
        assert "ConnectionRefusedError" in health.superlink(link, hub, tmp_path / "ours" / "ca.crt")


def test_check_imports_nothing_but_the_standard_library():
    code = "import sys, fedgenome.deployment.health, multiprocessing.connection; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    tops = {name.partition(".")[0] for name in found}
    assert "fedgenome" in tops and not tops & {"numpy", "pydantic", "torch", "cryptography", "flwr", "typer"}
    assert [name for name in found if name.startswith("fedgenome")] == [
        "fedgenome", "fedgenome.deployment", "fedgenome.deployment.health",
    ]  # fmt: skip
