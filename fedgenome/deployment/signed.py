"""The signed Study: what a consortium agreed on, as a file that hospitals approve and roles verify.

    {"study": {…}, "signatures": [{"signer": "<public key>", "signature": "<hex>"}]}

A signature covers the statement ``study`` of the Study's digest (:mod:`fedgenome.secure.identity`), hence
every field of it, also those at their default. Who may sign is each role's own to say: a file that is
signed by a stranger is no better than an unsigned one.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import pydantic

from fedgenome.deployment import disk
from fedgenome.errors import SpecError, WireError, require
from fedgenome.secure.identity import SIGNATURE_BYTES, Identity, unhex, verify
from fedgenome.strict import finding
from fedgenome.study import Study

_KEY_BYTES = 32
_MOST_SIGNATURES = 64
_MOST_BYTES = 64 << 20  # a Study names every gene: 20,000 of them take less than 1 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStudy:
    """A Study and who signed it.

    Attributes:
        study: The Study.
        signatures: (signer's public key, signature), both in hex, in the order in which they were made.

    Raises:
        SpecError: a signer twice, too many signatures, or text that is no key or signature.
    """

    study: Study
    signatures: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        signers = [signer for signer, _ in self.signatures]
        require(len(set(signers)) == len(signers), "every signer once", signers=signers)
        require(len(signers) <= _MOST_SIGNATURES, f"at most {_MOST_SIGNATURES} signatures", found=len(signers))
        for signer, signature in self.signatures:
            require(_is_hex(signer, _KEY_BYTES), "a signer's public key of 64 hex digits", signer=signer)
            require(_is_hex(signature, SIGNATURE_BYTES), "a signature of 128 hex digits", signer=signer)

    @property
    def wire(self) -> list[dict[str, str]]:
        """The signatures as messages and the file hold them."""
        return [{"signer": signer, "signature": signature} for signer, signature in self.signatures]

    def sign(self, identity: Identity) -> Self:
        """Return the same Study signed by ``identity`` too; signed by it already, nothing changes."""
        if any(signer == identity.public for signer, _ in self.signatures):
            return self
        made = identity.sign("study", [self.study.digest]).hex()
        return replace(self, signatures=(*self.signatures, (identity.public, made)))

    def verify(self, signers: Collection[str]) -> str:
        """Return the signer who is trusted here.

        Args:
            signers: Public keys whose signature counts.

        Raises:
            SpecError: none of them signed, or a signature in the name of one of them is wrong.
        """
        return verify_signatures(self.study.digest, self.wire, signers)

    def save(self, path: Path) -> None:
        """Write it in the place of ``path``, whole or not at all."""
        told = {"study": self.study.model_dump(mode="json", by_alias=True), "signatures": self.wire}
        disk.replace(path, (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode(), "the Study")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of :meth:`save`. That it is well formed says nothing about its signatures: verify.

        Raises:
            SpecError: one line naming the file and what is wrong with it.
        """
        told = _read(path)
        try:
            return cls(study=Study.model_validate(told["study"]), signatures=_pairs(told["signatures"]))
        except pydantic.ValidationError as fault:
            raise SpecError(f"{path}: study: {finding(fault, Study)}") from None
        except SpecError as fault:
            raise SpecError(f"{path}: {fault}") from None


def verify_signatures(digest: str, signatures: Iterable[Mapping[str, object]], signers: Collection[str]) -> str:
    """Return who of ``signers`` signed the Study of this digest: what a role checks when it is asked to join.

    Signatures of others are passed over: they could say nothing here, right or wrong.

    Args:
        digest: The Study's, in hex; computed from the Study itself, never taken from a message.
        signatures: Records of ``signer`` and ``signature`` in hex, as in files and messages.
        signers: Public keys whose signature counts.

    Raises:
        SpecError: none of them signed, or a signature in the name of one of them is wrong.
    """
    known = set(signers)
    for signer, signature in _pairs(list(signatures)):
        if signer not in known:
            continue
        try:
            verify(signer, "study", [digest], unhex(signature, "signature"))
        except WireError:
            raise SpecError(f"study {digest[:12]}…: the signature of {signer[:16]}… does not fit this Study") from None
        return signer
    trusted = ", ".join(f"{signer[:16]}…" for signer in sorted(known)) or "none"
    raise SpecError(f"study {digest[:12]}…: expected the signature of a trusted signer ({trusted}), found none")


def _read(path: Path) -> dict[str, object]:
    told = disk.read_json(path, "a signed Study", _MOST_BYTES)
    if not isinstance(told, dict) or sorted(told) != ["signatures", "study"]:
        raise SpecError(f"{path}: expected an object of study and signatures; make one with: fedgenome study make")
    return told


def _pairs(told: object) -> tuple[tuple[str, str], ...]:
    """Return (signer, signature) of every record of a list."""
    if not isinstance(told, list) or not all(map(_is_record, told)):
        raise SpecError("signatures: expected a list of signer and signature, each in hex")
    return tuple((record["signer"], record["signature"]) for record in told)


def _is_record(one: object) -> bool:
    fields = isinstance(one, Mapping) and sorted(one) == ["signature", "signer"]
    return fields and all(type(value) is str for value in one.values())  # type: ignore[attr-defined]


def _is_hex(text: str, n_bytes: int) -> bool:
    try:
        return len(unhex(text, "")) == n_bytes
    except WireError:
        return False
