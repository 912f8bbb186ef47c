"""The hub: gives a SuperLink on the same machine one signed app bundle, with its signatures.

A SuperLink takes the signatures of an app only from where it fetches the app, by two requests: POST
``/hub/fetch-fab`` with the app's name and version, which answers with an address and the signatures, and GET
of that address. Started with ``FLWR_SUPERGRID_API_URL=http://127.0.0.1:<port>``, it asks this server, which
holds nothing secret, trusts nobody and listens on loopback only: who changes the bundle or a signature on
the way is refused by every SuperNode.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fedgenome.deployment.consortium.app import Bundle
from fedgenome.errors import SpecError

_HOST = "127.0.0.1"
_MOST_REQUEST = 16 << 10  # bytes; Flower's is some 100
_SECONDS = 10  # that a peer may stay silent
_AT_ONCE = 16


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _AT_ONCE

    def __init__(self, bundle: Bundle, port: int) -> None:
        self.bundle = bundle
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((_HOST, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        # Turned away rather than queued: a peer that opens connections and says nothing blocks nobody for long.
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a peer that hung up or sent nonsense is no event."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS
    server_version, sys_version = "fedgenome", ""

    def do_GET(self) -> None:
        """Send the bundle, or say that the server is up."""
        if self.path == "/health":
            self._send(HTTPStatus.OK, b"{}", "application/json")
        elif self.path == f"/fab/{self.server.bundle.signatures.sha256}":
            self._send(HTTPStatus.OK, self.server.bundle.blob, "application/octet-stream")
        else:
            self._tell(HTTPStatus.NOT_FOUND, {"detail": "expected /health or the address of the bundle"})

    def do_POST(self) -> None:
        """Tell where the bundle is and who signed it."""
        if self.path != "/hub/fetch-fab":
            self._tell(HTTPStatus.NOT_FOUND, {"detail": "expected /hub/fetch-fab"})
            return
        asked = self._asked()
        told = self.server.bundle.signatures
        if asked is None:
            self._tell(HTTPStatus.BAD_REQUEST, {"detail": "expected a JSON object with app_id"})
        elif asked.get("app_id") != told.app or asked.get("app_version") not in (None, told.version):
            versions = [told.version] if asked.get("app_id") == told.app else []
            self._tell(HTTPStatus.NOT_FOUND, {"detail": {"available_app_versions": versions}})
        else:
            address = f"http://{_HOST}:{self.server.server_port}/fab/{told.sha256}"
            self._tell(HTTPStatus.OK, {"fab_url": address, **told.model_dump(mode="json", include={"verifications"})})

    def log_message(self, format: str, *args: object) -> None:
        """Keep silent: the requests of one SuperLink tell nothing that its own log does not."""

    def _asked(self) -> dict[str, object] | None:
        """Return the request's JSON object; None if it is none or too long."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal() and len(length) < 8 and int(length) <= _MOST_REQUEST):
            return None
        try:
            told = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            return None
        return told if isinstance(told, dict) else None

    def _tell(self, status: HTTPStatus, told: dict[str, object]) -> None:
        self._send(status, json.dumps(told).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def listening(bundle: Bundle, port: int = 0) -> Iterator[int]:
    """Serve a signed bundle on loopback while the context lasts; yield the port.

    Args:
        bundle: What is served.
        port: 0 for any free one.

    Raises:
        SpecError: nobody signed the bundle, or the port is taken.
    """
    if not bundle.signatures.verifications:
        raise SpecError(f"{bundle.name}: expected a signed bundle; sign it with: fedgenome app sign")
    try:
        server = _Server(bundle, port)
    except (OSError, OverflowError) as fault:
        raise SpecError(f"{_HOST}:{port}: expected a free port, {fault}") from None
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def serve(bundle: Bundle, port: int, ready: Callable[[int], None]) -> None:
    """Serve a signed bundle until the process is asked to end (SIGTERM, Ctrl-C).

    Args:
        bundle: What is served.
        port: 0 for any free one.
        ready: Told the port once the server listens.

    Raises:
        SpecError: as :func:`listening`.
    """
    wanted = {signal.SIGTERM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # threads inherit it: the signal waits for us
    try:
        with listening(bundle, port) as taken:
            ready(taken)
            signal.sigwait(wanted)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
