"""Encryption keys of one run, vouched for by the parties' lasting identities (DESIGN §5, *Envelopes*).

The statement "party key" is [Study digest, run, digest of the terms, party, public key in hex]. A site
that pinned the Study knows the identities, so a key of the coordinator's own, of another run, or of
parties that were told other terms is refused before anything is sealed to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from fedgenome.errors import WireError
from fedgenome.query import PARTIES, Terms
from fedgenome.secure.envelope import PublicKey
from fedgenome.secure.identity import Identity, unhex, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """A party's public encryption key for one run, as it travels.

    Attributes:
        public: The key.
        signature: 64 bytes by the party's identity.
    """

    public: PublicKey
    signature: bytes

    @classmethod
    def make(cls, public: PublicKey, identity: Identity, study: str, run: str, terms: Terms, party: int) -> Self:
        """Vouch for ``public`` as ``party``."""
        return cls(public=public, signature=identity.sign("party key", _vouched(study, run, terms, party, public)))

    def check(self, identity: str, study: str, run: str, terms: Terms, party: int) -> None:
        """Check that the party of this ``identity`` made the key for this study, run and these terms.

        Raises:
            WireError: it did not.
        """
        verify(identity, "party key", _vouched(study, run, terms, party, self.public), self.signature)

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return {"public": self.public.to_bytes().hex(), "signature": self.signature.hex()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` gave.

        Raises:
            WireError: it is no key and signature.
        """
        if sorted(told) != ["public", "signature"]:
            raise WireError("party key: expected public and signature")
        public, signature = (unhex(told[name], f"party key: {name}") for name in ("public", "signature"))
        return cls(public=PublicKey.from_bytes(public), signature=signature)


def check_all(
    keys: Sequence[RunKey], identities: Sequence[str], study: str, run: str, terms: Terms
) -> tuple[PublicKey, ...]:
    """Check the three parties' keys and return them, in party order.

    Raises:
        WireError: one was not made by its party for this study, run and these terms.
    """
    if len(keys) != PARTIES or len(identities) != PARTIES:
        raise WireError(f"party key: expected one for each of {PARTIES} parties, got {len(keys)}")
    for party, (key, identity) in enumerate(zip(keys, identities, strict=True)):
        key.check(identity, study, run, terms, party)
    return tuple(key.public for key in keys)


def _vouched(study: str, run: str, terms: Terms, party: int, public: PublicKey) -> list[object]:
    return [study, run, terms.digest, party, public.to_bytes().hex()]
