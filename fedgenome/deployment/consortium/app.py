"""The app bundle: built from the repository, signed by a release key that the coordinator does not hold.

Flower runs whatever bundle it is sent. A SuperNode started with ``--trusted-entities`` runs only those that
a listed Ed25519 key signed, over

    seconds since 1970 (8 bytes, big-endian) ‖ SHA-256 of the bundle

and looks for the signature in what the SuperLink was told where it fetched the bundle
(:mod:`fedgenome.deployment.coordinator.hub`). A signature does not expire: a bundle once signed is accepted for as long
as its key is listed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, ValidationError

from fedgenome.deployment import disk
from fedgenome.deployment.consortium.release_keys import key_id, release_key
from fedgenome.errors import RoleError, SpecError
from fedgenome.strict import Strict, finding

MOST_BYTES = 10 << 20  # Flower's own limit
_BUILD_SECONDS = 600
_STAMP = struct.Struct(">Q32s")  # seconds since 1970, SHA-256 of the bundle


class Verification(Strict):
    """One signature as Flower's SuperLink hands it on."""

    public_key_id: str = Field(min_length=1, max_length=200, description="the key's name in the trusted list")
    signature: str = Field(pattern=r"^[A-Za-z0-9_-]{86}$", description="base64url, no padding")
    signed_at: int = Field(ge=0, lt=1 << 63, description="seconds since 1970")


class Signatures(Strict):
    """What ``fedgenome app sign`` writes: which bundle, and who signed it."""

    app: str = Field(pattern=r"^@[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", description="@publisher/name")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the bundle")
    verifications: tuple[Verification, ...] = Field(default=(), max_length=16)

    def save(self, path: Path) -> None:
        """Write it in the place of ``path``, whole or not at all."""
        disk.replace(path, (self.model_dump_json(indent=1) + "\n").encode(), "signatures")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of :meth:`save`.

        Raises:
            SpecError: one line naming the file and what is wrong with it.
        """
        try:
            return cls.model_validate_json(disk.read(path, "the signatures of a bundle", MOST_BYTES))
        except ValidationError as fault:
            raise SpecError(f"{path}: {finding(fault, cls)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle as Flower builds it, and its signatures.

    Attributes:
        blob: The bundle's bytes.
        signatures: Which app it is, and who signed it.
    """

    blob: bytes
    signatures: Signatures

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a bundle; nobody signed it yet.

        Raises:
            SpecError: no file, too large, or not a bundle.
        """
        blob = disk.read(path, "an app bundle", MOST_BYTES)
        app, version = _named(path, blob)
        return cls(blob=blob, signatures=Signatures(app=app, version=version, sha256=hashlib.sha256(blob).hexdigest()))

    def signed(self, key: Ed25519PrivateKey, seconds: int | None = None) -> Self:
        """Return the same bundle signed by ``key`` too, in place of an earlier signature of it.

        Args:
            seconds: Since 1970; now unless given.
        """
        at = int(time.time()) if seconds is None else seconds
        made = Verification(
            public_key_id=key_id(key.public_key()),
            signature=base64.urlsafe_b64encode(key.sign(self._message(at))).rstrip(b"=").decode(),
            signed_at=at,
        )
        others = (v for v in self.signatures.verifications if v.public_key_id != made.public_key_id)
        return self._with((*others, made))

    def join(self, told: Signatures, source: Path) -> Self:
        """Return the same bundle with the signatures of a file.

        Raises:
            SpecError: they are of another bundle.
        """
        if told.model_copy(update={"verifications": ()}) != self.signatures.model_copy(update={"verifications": ()}):
            raise SpecError(f"{source}: expected signatures of {self.name}, SHA-256 {self.signatures.sha256[:12]}…")
        return self._with(told.verifications)

    def verified(self, key: Ed25519PublicKey) -> bool:
        """Tell whether ``key`` signed it, as a SuperNode that lists the key would."""
        for one in self.signatures.verifications:
            if one.public_key_id == key_id(key):
                with contextlib.suppress(InvalidSignature):
                    key.verify(base64.urlsafe_b64decode(one.signature + "=="), self._message(one.signed_at))
                    return True
        return False

    @property
    def name(self) -> str:
        """What ``flwr run`` takes: @publisher/name==version."""
        return f"{self.signatures.app}=={self.signatures.version}"

    @property
    def content(self) -> tuple[str, ...]:
        """The names of its files, for the one who is to sign it."""
        with zipfile.ZipFile(io.BytesIO(self.blob)) as packed:
            return tuple(sorted(packed.namelist()))

    def _with(self, verifications: Sequence[Verification]) -> Self:
        return replace(self, signatures=self.signatures.model_copy(update={"verifications": tuple(verifications)}))

    def _message(self, seconds: int) -> bytes:
        return _STAMP.pack(seconds, bytes.fromhex(self.signatures.sha256))


def build(root: Path, folder: Path) -> Path:
    """Build the app bundle of a checkout with ``flwr build``; the same files give the same bytes.

    Args:
        root: The checkout: its ``pyproject.toml`` says which files go in.
        folder: Where the bundle goes; made if absent.

    Returns:
        The bundle, ``<publisher>.<name>.<version>.<hash>.fab``.

    Raises:
        SpecError: ``root`` is no Flower app, or ``flwr build`` refuses it, with what it said.
    """
    if not (root / "pyproject.toml").is_file():
        raise SpecError(f"{root}: expected the repository's root, with pyproject.toml")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fedgenome-app-") as place:
        # Flower takes the folder's name for the app's, and refuses most characters in it.
        app = Path(place) / "fedgenome"
        _copy_app(root, app)
        _flwr_build(app, Path(place))
        (made,) = Path(place).glob("*.fab")
        return Path(shutil.copy(made, folder / made.name))


def sign(file: Path, key: Path, out: Path) -> Bundle:
    """Sign a bundle and write its signatures to ``out``; earlier ones there of the same bundle are kept.

    Raises:
        SpecError: bundle, key or an earlier ``out`` is not what it should be.
    """
    bundle = Bundle.read(file)
    if out.exists() and (earlier := Signatures.load(out)).sha256 == bundle.signatures.sha256:
        bundle = bundle.join(earlier, out)
    signed = bundle.signed(release_key(key))
    signed.signatures.save(out)
    return signed


def _copy_app(root: Path, to: Path) -> None:
    """Copy what the bundle may hold, and not the gigabytes that may lie beside it."""
    told = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    try:
        wanted = ["pyproject.toml", *(name.lstrip("/") for name in told["tool"]["flwr"]["app"]["fab-include"])]
    except (KeyError, TypeError):
        raise SpecError(f"{root / 'pyproject.toml'}: expected [tool.flwr.app] with fab-include") from None
    for name in wanted:
        if not (root / name).is_file():
            raise SpecError(f"{root / name}: expected a file of the bundle, found none")
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, to / name)


def _flwr_build(app: Path, folder: Path) -> None:
    script = "from flwr.cli.app import app; app()"  # works wherever flwr is installed, on the PATH or not
    command = [sys.executable, "-c", script, "build", "--app", str(app)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RoleError(f"flwr build: expected to end within {_BUILD_SECONDS} seconds") from None
    if done.returncode:
        raise SpecError(f"flwr build: {' '.join((done.stderr or done.stdout).split())}")


def _named(path: Path, blob: bytes) -> tuple[str, str]:
    """Return (@publisher/name, version) of a bundle."""
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as packed:
            told = tomllib.loads(packed.read("pyproject.toml").decode())
        return f"@{told['tool']['flwr']['app']['publisher']}/{told['project']['name']}", told["project"]["version"]
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError):
        raise SpecError(f"{path}: expected an app bundle, made by: fedgenome app build") from None
