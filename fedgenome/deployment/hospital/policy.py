"""A hospital's own rules (DESIGN §7.11): what no Study, signer or coordinator can weaken, as ``site.toml`` says them.

A refusal names the line of ``site.toml`` that decided and what it asks for: public terms, never data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from fedgenome.deployment.signed import verify_signatures
from fedgenome.errors import Refused, SpecError
from fedgenome.query import PARTIES
from fedgenome.strict import Strict
from fedgenome.study import Name, Plan, Study, TrustModel

PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # Ed25519; unlike a roster's, never empty

_Rule = tuple[bool, str]


class Policy(Strict):
    """The ``[policy]`` table of ``site.toml``."""

    signers: tuple[PublicKey, ...] = Field(min_length=1, description="whose signature of a Study counts; one suffices")
    parties: tuple[PublicKey, ...] = Field(
        min_length=PARTIES, max_length=PARTIES, description="the three parties' keys, in order"
    )
    dealer: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = Field(
        default="", description="the dealer's key; empty: no selections"
    )
    quorum: int = Field(ge=1, description="fewest sites whose sum may be opened")
    colluders: int = Field(default=1, ge=1, le=2, description="fewest parties t whose collusion must not weaken ε")
    methods: tuple[Name, ...] = Field(min_length=1, description="kinds of methods that may ask")
    trust: tuple[TrustModel, ...] = Field(min_length=1, description="trust models that may be asked under")
    delta: float = Field(gt=0, lt=1, description="greatest δ")
    donors: int = Field(ge=1, description="this site's public cap on donors: a roster must state it as it is")
    budget_epsilon: float | None = Field(default=None, gt=0, description="most ε of all studies together, for ever")
    budget_delta: float = Field(default=1e-2, gt=0, lt=1, description="most δ of all studies together, for ever")


def check(
    policy: Policy,
    study: Study,
    plan: Plan | None,
    signatures: Sequence[Mapping[str, object]],
    public: bool,
    seeded: bool,
    *,
    site: str,
) -> None:
    """Refuse a Study that breaks a rule of ``policy``.

    Args:
        plan: What the run may ask; None where a Study is looked at before any run.
        signatures: Records of ``signer`` and ``signature`` in hex, unchecked.
        public: The site's data are declared public.
        seeded: The site's randomness is a simulation's.
        site: Its own name in the roster.

    Raises:
        Refused: ``policy``; the rule begins with the deciding line of ``site.toml``.
    """
    _check_signed(policy, study, signatures)
    rules = (*_public(study, public, seeded), *_roles(policy, study, plan), *_protection(policy, study, site))
    for kept, rule in rules:
        if not kept:
            raise Refused("policy", rule)


def _check_signed(policy: Policy, study: Study, signatures: Sequence[Mapping[str, object]]) -> None:
    try:
        verify_signatures(study.digest, signatures, policy.signers)
    except SpecError as fault:
        raise Refused("policy", f"policy.signers: {fault}") from None


def _public(study: Study, public: bool, seeded: bool) -> Iterator[_Rule]:
    """Yield what only data that are declared public may be used for."""
    yield public or not seeded, "public: a seeded site answers only where its data are declared public"
    yield public or study.privacy.trust != "none", "public: trust 'none' only where the data are declared public"
    yield public or study.secure == "on", "public: secure = 'off' only where the data are declared public"


def _roles(policy: Policy, study: Study, plan: Plan | None) -> Iterator[_Rule]:
    plain = study.secure == "off" and not study.parties
    yield plain or study.parties == policy.parties, "policy.parties: the study names other parties' keys, or an order"
    yield study.dealer in ("", policy.dealer), "policy.dealer: the study names another dealer's key"
    dealt = plan is None or not plan.selects or bool(study.dealer)
    yield dealt, "policy.dealer: the plan holds a selection, and the study names no dealer"


def _protection(policy: Policy, study: Study, site: str) -> Iterator[_Rule]:
    told, delta = study.privacy, study.privacy.delta
    quorum = f"policy.quorum: at least {policy.quorum} sites, the study says {study.quorum}"
    yield study.quorum >= policy.quorum, quorum
    colluders = f"policy.colluders: at least {policy.colluders}, the study says {told.colluders}"
    yield told.colluders >= policy.colluders, colluders
    for method in study.methods:
        yield method.kind in policy.methods, f"policy.methods: one of {', '.join(policy.methods)}, not {method.kind}"
    yield told.trust in policy.trust, f"policy.trust: one of {', '.join(policy.trust)}, not {told.trust}"
    yield delta is None or delta <= policy.delta, f"policy.delta: at most {policy.delta:g}, the study says {delta}"
    cap = next((one.cap for one in study.roster if one.name == site), None)
    yield cap == policy.donors, f"policy.donors: a cap of {policy.donors} for {site} in the roster, not {cap}"
    for most, asked, what in (
        (policy.budget_epsilon, told.epsilon, "epsilon"),
        (policy.budget_delta, delta, "delta"),
    ):
        kept = most is None or asked is None or asked <= most
        yield kept, f"policy.budget_{what}: at most {most} over all studies, this one alone asks for {asked}"
