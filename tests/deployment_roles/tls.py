"""TLS servers on loopback, and authorities that certify them, well or badly."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import socket
import socketserver
import ssl
import threading
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "127.0.0.1"
_DAY = datetime.timedelta(days=1)


class Authority:
    """An authority of its own, and what it certifies."""

    def __init__(self, folder: Path, name: str = "ours", days: float = 365) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), name
        made = self._certificate(self._key, name, 0, days).add_extension(x509.BasicConstraints(True, 0), True)
        self.path = folder / "ca.crt"
        self.path.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def context(self, host: str = HOST, first: float = -1, last: float = 90) -> ssl.SSLContext:
        """Return a server's context, certified for ``host`` from day ``first`` to day ``last`` as of now."""
        key, path = ec.generate_private_key(ec.SECP256R1()), self._folder / "server.pem"
        name = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        made = self._certificate(key, "server", first, last).add_extension(name, False)
        pem = made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        plain = serialization.NoEncryption()
        pem += key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        path.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _certificate(self, key, subject, first, last):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(self._name))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + first * _DAY).not_valid_after(now + last * _DAY)
        ours = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False).add_extension(
            ours, False
        )


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


class SuperLink(http.server.BaseHTTPRequestHandler):
    """Answers as Flower 1.41 does: 200 to GET /health, 401 to a POST that nobody signed."""

    protocol_version = "HTTP/1.1"
    date, post, get = None, 401, 200

    def date_time_string(self, timestamp=None):
        return self.date or super().date_time_string(timestamp)

    def do_GET(self):
        self.answer(self.get if self.path == "/health" else 404)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        ours = self.path == "/v1/fleet/push-messages" and self.headers["Content-Type"] == "application/protobuf"
        self.answer(self.post if ours else 415)

    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def superlink(**changes):
    return type("Changed", (SuperLink,), changes)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that goes away is no fault."""


@contextlib.contextmanager
def serving(handler=SuperLink, context: ssl.SSLContext | None = None):
    """Serve on loopback and yield the port."""
    with _Server((HOST, 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class Closes(socketserver.BaseRequestHandler):
    """Takes a connection and ends it."""

    def handle(self):
        self.request.close()


class Silent(socketserver.BaseRequestHandler):
    """Takes a connection and says nothing."""

    def handle(self):
        self.request.recv(1)
        while self.request.recv(4096):
            pass


class Garbage(socketserver.BaseRequestHandler):
    """Speaks no HTTP/1.1: the first bytes of HTTP/2."""

    def handle(self):
        self.request.recv(4096)
        self.request.sendall(b"\0\0\x06\x04\0\0\0\0\0")


class Proxy(socketserver.StreamRequestHandler):
    """Lets CONNECT through to whatever it names; refuses all else."""

    def handle(self):
        words = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        host, _, port = words[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, self.connection), daemon=True)
            back.start()
            _pump(self.connection, there)
            back.join()


class Refusing(socketserver.StreamRequestHandler):
    """A proxy that lets nobody through."""

    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while blob := source.recv(1 << 16):
            sink.sendall(blob)
        sink.shutdown(socket.SHUT_WR)
