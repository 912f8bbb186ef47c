"""The way from a hospital to a SuperLink: the one that its relay takes, proxies of the environment included."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from fedgenome.deployment.consortium import certificates
from fedgenome.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The way to a SuperLink.

    Attributes:
        host: Its name or address, ``port`` with it.
        authority: ``ca.crt``.
        proxy: host:port of the proxy that a relay with this environment would ask; empty: none.
        seconds: How long one step may take.
    """

    host: str
    port: int
    authority: Path
    proxy: str = ""
    seconds: float = 10.0

    @property
    def text(self) -> str:
        """The address, and by which way."""
        return f"{self.host}:{self.port}" + (f" by the proxy {self.proxy}" if self.proxy else "")


def link(address: str, authority: Path) -> Link:
    """Return the way to ``host:port`` from here, as the environment's proxies say.

    Raises:
        SpecError: it is no such address, or the authority's file holds no certificate.
    """
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise SpecError(f"--superlink: expected host:port, got {address!r}")
    certificates.read(authority)
    host = host.removeprefix("[").removesuffix("]")
    return Link(host=host, port=int(port), authority=authority, proxy=proxy(host))


def proxy(host: str) -> str:
    """Return host:port of the proxy that the environment names for https to ``host``; empty for none."""
    named = urllib.request.getproxies_environment()
    told = named.get("https") or named.get("all") or ""
    if not told or urllib.request.proxy_bypass_environment(host, named):  # type: ignore[attr-defined, unused-ignore]
        return ""
    return urllib.parse.urlsplit(told if "//" in told else f"//{told}").netloc.rpartition("@")[2]


def connected(way: Link) -> socket.socket:
    """Return a TCP connection, made by way of the proxy if there is one."""
    host, _, number = way.proxy.rpartition(":") if way.proxy else (way.host, "", str(way.port))
    if not host:
        host, number = number, "80"  # a proxy without a port
    opened = http.client.HTTPConnection(host, int(number), timeout=way.seconds)
    if way.proxy:
        opened.set_tunnel(way.host, way.port)
    opened.connect()
    made: socket.socket = opened.sock
    return made


def secured(way: Link) -> ssl.SSLSocket:
    """Return a connection over TLS to whom our authority, and no other, certified."""
    context = ssl.create_default_context(cafile=str(way.authority))
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(connected(way), server_hostname=way.host)


def asked(
    way: Link, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str]]:
    """Return status and headers (names in lower case) of an answer over HTTP/1.1."""
    with contextlib.closing(http.client.HTTPConnection(way.host, way.port, timeout=way.seconds)) as opened:
        opened.sock = secured(way)
        opened.request(method, path, body, headers or {})
        answer = opened.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def said(fault: Exception) -> str:
    """Return an error in one line: of the operating system its reason alone."""
    text = " ".join(str(getattr(fault, "strerror", None) or fault).split())
    return text or type(fault).__name__
