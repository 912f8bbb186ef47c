"""Whether a hospital's relay can reach the SuperLink, and whether it is the SuperLink that it reaches.

Flower 1.41 speaks protobuf over HTTP/1.1 and TLS, through the proxy that the environment names if it names one, and
sends answers in pieces of up to 5 MiB. So that is what is tried; HTTP/2 and gRPC are not needed. Every check opens a
connection of its own.
"""

from __future__ import annotations

import email.utils
import http.client
import os
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fedgenome.deployment.consortium import certificates
from fedgenome.deployment.hospital.findings import Finding, failed, ok, untested
from fedgenome.deployment.hospital.link import Link, asked, connected, said, secured

# What Flower takes of a node's signed time: no more than 5 s in the future, no older than 305 s.
AHEAD_SECONDS, BEHIND_SECONDS = 5.0, 30.0
DAYS = 14.0  # a certificate with fewer is to be renewed now
UPLOAD_BYTES = 5 << 20  # Flower's largest piece of an array
_PUSH = "/v1/fleet/push-messages"  # answers 401 to whoever does not sign with a registered key
_UNKNOWN_FIELD = bytes([15 << 3 | 2])  # protobuf: a field that no message has, of so many bytes
_HOST_CODES = (62, 64)  # OpenSSL: not this host, not this address
_EXPIRED, _NOT_YET = 10, 9


def findings(way: Link, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Yield what every check of a link finds; those behind one that failed are not tested.

    Args:
        way: The link.
        clock: Tells the time here, seconds since 1970.
    """
    yield authority_days(way.authority, datetime.fromtimestamp(clock(), UTC))
    yield (found := port(way))
    if found.state == "ok":
        yield (found := handshake(way))
    else:
        yield untested("tls", "the port was not reached")
    rest: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("certificate", lambda: server_days(way, datetime.fromtimestamp(clock(), UTC))),
        ("http", lambda: health(way)),
        ("clock", lambda: clock_offset(way, clock)),
        ("upload", lambda: upload(way)),
    )
    for check, look in rest:
        yield look() if found.state == "ok" else untested(check, "no TLS connection to the SuperLink")


def port(way: Link) -> Finding:
    """Open a TCP connection, as a relay would."""
    try:
        connected(way).close()
    except (OSError, http.client.HTTPException) as fault:
        remedy = "start it, or have the firewall let the relay out to this port"
        if way.proxy:
            remedy = "have the proxy let CONNECT through to this port, or name the host in NO_PROXY"
        return failed("port", f"{way.text}: {said(fault)}", remedy)
    return ok("port", f"{way.text} is reached")


def handshake(way: Link) -> Finding:
    """Make a TLS connection that only a server certified by our authority passes, and that offers HTTP/1.1."""
    try:
        with secured(way) as open_:
            return ok("tls", f"{open_.version()}, certified by {way.authority.name} for {way.host}")
    except ssl.SSLCertVerificationError as fault:
        return _unverified(way, fault)
    except ssl.SSLError as fault:
        if fault.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            remedy = "start the SuperLink with its certificate, or check the port"
            return failed("tls", f"{way.text} answers, but not in TLS", remedy)
        remedy = "something between refuses TLS or HTTP/1.1: have the firewall pass it through unread"
        return failed("tls", f"{way.text} ends the handshake: {fault.reason or said(fault)}", remedy)
    except (OSError, http.client.HTTPException) as fault:
        remedy = "something between ends TLS: have the firewall pass it through unread"
        return failed("tls", f"{way.text} ends the handshake: {said(fault)}", remedy)


def server_days(way: Link, now: datetime) -> Finding:
    """Count the days that are left of the SuperLink's certificate."""
    try:
        with secured(way) as open_:
            found = x509.load_der_x509_certificate(open_.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError, http.client.HTTPException) as fault:
        return failed("certificate", f"{way.text}: {said(fault)}", "try again")
    return _days("certificate", "the SuperLink's certificate", found, now, "fedgenome keys certificates FOLDER --renew")


def authority_days(path: Path, now: datetime) -> Finding:
    """Count the days that are left of the authority's certificate."""
    remedy = "have the consortium make a new authority and send everybody its ca.crt"
    return _days("authority", path.name, certificates.read(path), now, remedy)


def health(way: Link) -> Finding:
    """Ask the SuperLink how it is, over HTTP/1.1."""
    remedy = "have the proxy or firewall pass HTTP/1.1 to the SuperLink unchanged"
    try:
        status, headers = asked(way, "GET", "/health")
    except (OSError, http.client.HTTPException) as fault:
        return failed("http", f"GET /health: {said(fault)}", remedy)
    if status != http.client.OK:
        return failed("http", f"GET /health: {status} of {headers.get('server') or 'a nameless server'}", remedy)
    return ok("http", "the SuperLink answers GET /health over HTTP/1.1")


def clock_offset(way: Link, clock: Callable[[], float] = time.time) -> Finding:
    """Compare the clock here with the SuperLink's, as its ``Date`` tells it to the second."""
    try:
        before = clock()
        _, headers = asked(way, "GET", "/health")
        here = (before + clock()) / 2
    except (OSError, http.client.HTTPException) as fault:
        return failed("clock", f"GET /health: {said(fault)}", "try again")
    try:
        there = email.utils.parsedate_to_datetime(headers["date"]).timestamp() + 0.5
    except (KeyError, TypeError, ValueError):
        return untested("clock", "the answer has no Date")
    ahead = here - there
    told = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the SuperLink's"
    if -BEHIND_SECONDS <= ahead <= AHEAD_SECONDS:
        return ok("clock", f"within {max(abs(ahead), 1):.0f} s of the SuperLink's")
    return failed("clock", f"{told}: it refuses a relay's signature", "set this clock, or the SuperLink's, by NTP")


def upload(way: Link, size: int = UPLOAD_BYTES) -> Finding:
    """Send what looks like an answer's largest piece: a proxy may refuse its size or kind, the SuperLink its sender."""
    remedy = f"have the proxy or firewall let POSTs of application/protobuf of {size >> 20} MiB through unread"
    blob = _UNKNOWN_FIELD + _varint(size) + os.urandom(size)
    try:
        status, headers = asked(way, "POST", _PUSH, blob, {"Content-Type": "application/protobuf"})
    except (OSError, http.client.HTTPException) as fault:
        return failed("upload", f"POST of {size >> 20} MiB: {said(fault)}", remedy)
    if status == http.client.UNAUTHORIZED:
        return ok("upload", f"{size >> 20} MiB arrive, and nobody is let in without a registered key")
    server = headers.get("server") or "a nameless server"
    return failed("upload", f"POST of {size >> 20} MiB: {status} of {server}, expected 401", remedy)


def _unverified(way: Link, fault: ssl.SSLCertVerificationError) -> Finding:
    """Say whose certificate came in place of ours."""
    code, renew = fault.verify_code, "fedgenome keys certificates FOLDER --renew"
    if code == _EXPIRED:
        remedy = f"the coordinator renews it ({renew}); or this clock is ahead: set it by NTP"
        return failed("tls", f"{way.text}: its certificate has expired", remedy)
    if code == _NOT_YET:
        return failed("tls", f"{way.text}: its certificate is not valid yet", "this clock is behind: set it by NTP")
    if code in _HOST_CODES:
        remedy = f"use the name it was made for, or make it anew: fedgenome keys certificates FOLDER --host {way.host}"
        return failed("tls", f"{way.text}: its certificate is for another name", remedy)
    remedy = (
        f"something between may read along: have it pass this host through unread; else {way.authority.name} is not "
        "the one that the SuperLink's certificate was made with"
    )
    return failed("tls", f"{way.text}: certified by {_issuer(way)}, not by {way.authority.name}", remedy)


def _issuer(way: Link) -> str:
    """Return the issuer that the peer's certificate names; nothing of it is trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(connected(way), server_hostname=way.host) as open_:
            blob = open_.getpeercert(binary_form=True) or b""
        return repr(x509.load_der_x509_certificate(blob).issuer.rfc4514_string())
    except (OSError, ValueError, http.client.HTTPException):
        return "an issuer that it does not show"


def _days(check: str, what: str, found: x509.Certificate, now: datetime, remedy: str) -> Finding:
    left = certificates.days_left(found, now)
    if left < DAYS:
        told = f"{left:.1f} days left, fewer than {DAYS:g}" if left > 0 else f"it expired {-left:.1f} days ago"
        return failed(check, f"{what}: {told}", remedy)
    return ok(check, f"{what}: {left:.0f} days left")


def _varint(number: int) -> bytes:
    """Encode a length as protobuf does: seven bits a byte, the lowest first."""
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])
