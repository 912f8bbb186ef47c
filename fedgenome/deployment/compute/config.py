"""``party.toml`` and ``dealer.toml``: what the operators of compute roles write down alike."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from fedgenome.deployment.roles import RoleConfig
from fedgenome.query import PARTIES

PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[1-9][0-9]{0,4}$")]


class ComputeConfig(RoleConfig):
    """What ``party.toml`` and ``dealer.toml`` have in common."""

    peers: tuple[Address, ...] = Field(default=(), description="host:port of the three parties, in order")
    signers: tuple[PublicKey, ...] = Field(min_length=1, description="public keys whose signature on a Study counts")
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="silence that counts as a failure")
    # A party hears nothing while hospitals work, which may take one of them 600 s.
    idle_seconds: float = Field(default=900.0, gt=0, description="after so long another run may take the place of one")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.peers) not in (0, PARTIES) or len(set(self.peers)) < len(self.peers):
            raise ValueError(f"peers: expected {PARTIES} different addresses host:port, or none, got {self.peers}")
        return self
