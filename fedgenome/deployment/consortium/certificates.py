"""The SuperLink's certificate, and the small authority that signs it: what SuperNodes know the SuperLink by.

``ca.crt`` goes to every hospital and party, ``server.crt`` and ``server.key`` to the SuperLink, and ``ca.key``
to nobody: it is needed again only to renew. Nothing secret of fedgenome rests on these files, as shares are
sealed to the parties' keys; without them a network could play the coordinator.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import math
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedgenome.deployment import disk
from fedgenome.errors import SpecError, require

CA_KEY, CA, KEY, CERTIFICATE = "ca.key", "ca.crt", "server.key", "server.crt"
_MODES = {CA_KEY: 0o600, CA: 0o644, KEY: 0o600, CERTIFICATE: 0o644}
_CA_DAYS = 1095
_MOST_BYTES = 1 << 16
_SLACK = datetime.timedelta(hours=1)  # for clocks that run behind
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def make(folder: Path, hosts: Sequence[str], days: float = 90) -> None:
    """Make an authority and a server certificate: four new files of ``folder``, which is made if absent.

    Args:
        folder: Where they go.
        hosts: Names and addresses under which the SuperLink is reached.
        days: How long the server certificate holds; the authority's holds three years.

    Raises:
        SpecError: a host or ``days`` is out of range, or one of the files is there already: none is replaced.
    """
    names = _names(hosts)
    _check_days(days, _CA_DAYS)
    with disk.named(folder, "a folder for certificates"):
        folder.mkdir(parents=True, exist_ok=True)
    if there := [name for name in _MODES if (folder / name).exists()]:
        raise SpecError(f"{folder}: expected none of {', '.join(there)}; certificates are renewed, never overwritten")
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _authority(authority_key)
    certificate = _server(authority, authority_key, key.public_key(), names, days)
    for name, blob in (
        (CA_KEY, _pem(authority_key)),
        (KEY, _pem(key)),
        (CA, _crt(authority)),
        (CERTIFICATE, _crt(certificate)),
    ):
        disk.create(folder / name, blob, _MODES[name], "a new file")


def renew(folder: Path, days: float = 90, hosts: Sequence[str] = ()) -> None:
    """Replace the server certificate by a new one of the same key, signed by the same authority.

    One file changes, at once; whoever knows ``ca.crt`` notices nothing. The SuperLink reads it when it starts.

    Args:
        folder: Files of :func:`make`.
        days: How long the new one holds.
        hosts: Its names and addresses; those of the old one unless given.

    Raises:
        SpecError: a file is missing or unreadable, or ``days`` is out of range.
    """
    authority, old = read(folder / CA), read(folder / CERTIFICATE)
    _check_days(days, days_left(authority))
    authority_key = _key(folder / CA_KEY)
    if authority_key.public_key() != authority.public_key():
        raise SpecError(f"{folder / CA_KEY}: expected the key of {CA}, got another")
    names = _names(hosts) if hosts else list(old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    certificate = _server(authority, authority_key, _key(folder / KEY).public_key(), names, days)
    disk.replace(folder / CERTIFICATE, _crt(certificate), "the certificate")


def check(folder: Path, now: datetime.datetime | None = None) -> None:
    """Refuse a server certificate that nobody would accept: before a SuperLink waits for relays in vain.

    Args:
        folder: ``ca.crt``, ``server.crt`` and ``server.key``.
        now: When it is to hold; by default now.

    Raises:
        SpecError: it has expired, or is not valid yet, or is another authority's or another key's; says what to do.
    """
    path, found, authority = folder / CERTIFICATE, read(folder / CERTIFICATE), read(folder / CA)
    if (left := days_left(found, now)) <= 0:
        raise SpecError(
            f"{path}: it expired {-left:.1f} days ago; renew it: fedgenome keys certificates FOLDER --renew"
        )
    if (early := (found.not_valid_before_utc - (now or _now())) / datetime.timedelta(days=1)) > 0:
        raise SpecError(f"{path}: it is valid in {early:.1f} days only; set this clock by NTP, or renew it")
    try:
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise SpecError(f"{path}: expected a certificate that {folder / CA} signed, got another authority's") from None
    if _key(folder / KEY).public_key() != found.public_key():
        raise SpecError(f"{folder / KEY}: expected the key of {CERTIFICATE}, got another")


def read(path: Path) -> x509.Certificate:
    """Read a certificate (PEM).

    Raises:
        SpecError: no file, or it holds none.
    """
    blob = disk.read(path, "a certificate", _MOST_BYTES)
    try:
        return x509.load_pem_x509_certificate(blob)
    except ValueError:
        raise SpecError(f"{path}: expected a certificate in PEM") from None


def hosts(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is for."""
    found = [one.value for one in certificate.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
    return [str(name.value) for names in found for name in names]


def days_left(certificate: x509.Certificate, now: datetime.datetime | None = None) -> float:
    """Return the days until it ends; negative once it has ended.

    Args:
        now: From when they are counted; by default from now.
    """
    return (certificate.not_valid_after_utc - (now or _now())) / datetime.timedelta(days=1)


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = _name("fedgenome authority")
    builder = _builder(name, name, key.public_key(), _CA_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(authority=True), critical=True)
    return builder.sign(key, hashes.SHA256())


def _server(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    names: Sequence[x509.GeneralName],
    days: float,
) -> x509.Certificate:
    builder = _builder(_name("fedgenome SuperLink"), authority.subject, key, days)
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(authority=False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName(names), False),
        (issuer, False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - _SLACK)
        .not_valid_after(_now() + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    require(bool(hosts), "at least one --host: the name or address under which the SuperLink is reached")
    require(len(set(hosts)) == len(hosts), "every host once", hosts=list(hosts))
    return [_general(host) for host in hosts]


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        require(bool(_HOST.fullmatch(host)), "a host name or address, without port", host=host)
        return x509.DNSName(host)


def _check_days(days: float, most: float) -> None:
    require(math.isfinite(days) and 0 < days <= most, f"0 < days <= {most:.0f}, the authority's own", days=days)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    blob, key = disk.read(path, "a key file", _MOST_BYTES), None
    with contextlib.suppress(ValueError, TypeError):  # their texts could quote the file
        key = serialization.load_pem_private_key(blob, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SpecError(f"{path}: expected an unencrypted elliptic-curve key in PEM")
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _crt(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
