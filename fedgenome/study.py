"""The Study: what all roles agree on and pin by digest before the first query (DESIGN §3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator

from fedgenome.errors import require
from fedgenome.query import PARTIES, Mechanism, Roster, Terms, digest_of
from fedgenome.strict import Strict

# Ed25519 public key; empty until the roles are known (a simulation makes identities for each run).
Key = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
TrustModel = Literal["distributed", "local", "site", "none"]
Batch = Literal["none", "ranks"]  # what a site does to each row by itself against effects of platform and batch
PLAIN: tuple[TrustModel, ...] = ("local", "none")  # where each site's vector may be seen: noised already, or public


class MethodSpec(Strict):
    """One method of the study: which, under what name, with which options."""

    kind: Name = Field(description="a method of the registry, e.g. marginals or cvae")
    name: Name | None = Field(default=None, description="its name in the release; defaults to kind")
    noise: float = Field(default=1.0, gt=0, description="its noise relative to the other methods'")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="validated by the method")

    @property
    def label(self) -> str:
        """The name that scopes, releases and reports use."""
        return self.name or self.kind


class Vocabulary(Strict):
    """What a code of a sequence stands for: a string of k letters, in the order of the letters."""

    letters: str = Field(default="ACGT", description="the letters, each once")
    k: int = Field(default=1, ge=1, le=16, description="letters a token")

    @model_validator(mode="after")
    def _check(self) -> Self:
        proper = set(self.letters) <= set("ABCDEFGHIJKLMOPQRSTUVWXYZ")
        if not proper or len(set(self.letters)) < max(2, len(self.letters)):
            raise ValueError(f"expected two or more letters A-Z, each once, without N (unknown), got {self.letters!r}")
        if self.size >= 1 << 16:
            raise ValueError(f"expected len(letters)**k < {1 << 16}, got {self.size} with k={self.k}")
        return self

    @property
    def size(self) -> int:
        """Number of known tokens, V; V is the code of any other."""
        return int(len(self.letters) ** self.k)


def coded(told: object, asked: bool) -> object:
    """Return a record's fields with the range of codes, 0 to V, where it is about tokens and names no range."""
    if not asked or not isinstance(told, dict):
        return told
    try:
        vocabulary = Vocabulary.model_validate(told.get("tokens") or {})
    except ValidationError:
        return told  # which the field itself then says, with its place
    return {"low": 0.0, "high": float(vocabulary.size)} | told | {"tokens": vocabulary}


def check_coded(tokens: Vocabulary, low: float, high: float, fill: float | None, batch: Batch) -> None:
    """Raise ValueError unless the rules for rows of codes hold."""
    if (low, high) != (0, tokens.size):
        raise ValueError(f"expected low = 0 and high = {tokens.size}, the codes of tokens, got {low:g} and {high:g}")
    if fill is not None or batch != "none":
        raise ValueError("expected neither fill nor batch with tokens: a letter that nobody read is unknown")


def check_dosages(low: float, high: float, batch: Batch) -> None:
    """Raise ValueError unless the rules for rows of dosages hold."""
    if (low, high, batch) != (0, 2, "none"):
        seen = f"got {low:g}, {high:g} and {batch!r}"
        raise ValueError(f"expected low = 0, high = 2 and batch = 'none' with scale = 'dosage', {seen}")


class Schema(Strict):
    """Public facts about the data; nothing here may be read off private records."""

    genes: tuple[str, ...] = Field(min_length=1)
    labels: tuple[str, ...] = Field(min_length=1)
    low: float = Field(default=0.0, description="smallest expression value, public")
    high: float = Field(description="largest expression value, public; beyond it values are clipped")
    unit: Literal["donor", "row"] = Field(default="row", description="what one privacy unit is")
    panel: str = Field(default="", description="how the genes were chosen, in words")
    fill: float | None = Field(default=None, description="value in place of one that a site did not measure")
    lacking: float = Field(default=0.1, ge=0, le=1, description="most of the genes that a site may lack, as a share")
    batch: Batch = Field(default="none", description="ranks: each row by itself to normal scores of its ranks")
    rows_per_donor: int | None = Field(default=None, ge=1, description="most rows of one donor")
    tokens: Vocabulary | None = Field(default=None, description="of rows of codes: genes are then positions")
    dosages: bool = Field(default=False, description="rows are copies of ALT: genes are then variants")

    @model_validator(mode="before")
    @classmethod
    def _codes(cls, told: object) -> object:
        return coded(told, isinstance(told, dict) and told.get("tokens") is not None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.tokens is not None:
            check_coded(self.tokens, self.low, self.high, self.fill, self.batch)
        if self.dosages:
            check_dosages(self.low, self.high, self.batch)
        if self.dosages and self.tokens is not None:
            raise ValueError("expected tokens or dosages, got both")
        if self.low >= self.high:
            raise ValueError(f"expected low < high, got low={self.low}, high={self.high}")
        if self.fill is not None and not self.low <= self.fill <= self.high:
            raise ValueError(f"expected low <= fill <= high, got fill={self.fill}")
        for what, names in (("gene", self.genes), ("label", self.labels)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"expected every {what} once, got {twice[0]!r} twice")
        return self


class Privacy(Strict):
    """The guarantee a study asks for."""

    trust: TrustModel = Field(default="distributed", description="where noise is added, and against whom")
    epsilon: float | None = Field(default=None, gt=0, description="ε of the whole plan; absent under trust none")
    delta: float | None = Field(default=None, gt=0, lt=1, description="δ; at most 1 / (10 · donors_bound)")
    colluders: int = Field(default=1, ge=0, le=2, description="parties t that may collude without weakening ε")
    retries: float = Field(default=0.05, ge=0, le=1, description="reserve for repeated queries, share of the steps")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.trust == "none") != (self.epsilon is None) or (self.epsilon is None) != (self.delta is None):
            raise ValueError(
                "expected epsilon and delta with trust 'distributed', 'local' or 'site', and neither with 'none'"
            )
        return self


class Holdout(Strict):
    """Whom every site keeps from training, so that a release can be audited without pooling anybody's records."""

    share: float = Field(gt=0, le=0.9, description="chance of each donor, by a coin of the site's own")
    canaries: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="made-up donors at every site, each in by a fair coin; they count as donors",
    )


class Sanitize(Strict):
    """How every site perturbs its rows, once, before anything is asked of them (``fedgenome.sanitize``).

    ε is of each record, in proportion to the distance of two of them: never the ε of :class:`Privacy`.
    """

    kind: Literal["laplace", "metric"] = Field(description="noise of each coefficient, or of all by their length")
    keep: Annotated[int, Field(ge=1)] | Literal["all"] = Field(
        default=50, description="K, coarsest coefficients that are kept, or all"
    )
    basis: Literal["dct", "haar"] = Field(default="dct", description="orthonormal basis of the coefficients")
    epsilon: float | None = Field(
        default=None, gt=0, le=1e6, description="ε a unit of distance, one gene over the whole range; absent: no noise"
    )
    labels_epsilon: float | None = Field(
        default=None, gt=0, le=80, description="ε of randomised response for labels; absent: labels stay exact"
    )

    @property
    def text(self) -> str:
        """What is done, in one line."""
        noise = "no noise" if self.epsilon is None else f"{self.kind} noise, ε = {self.epsilon:g} a unit of distance"
        labels = "exact labels" if self.labels_epsilon is None else f"labels ε = {self.labels_epsilon:g}"
        return f"{self.keep} {self.basis} coefficients, {noise}; {labels}: of each record, not of a donor"

    def kept(self, genes: int) -> int:
        """Return K for rows of so many genes; the Haar basis lengthens rows to a power of two."""
        if self.keep != "all":
            return self.keep
        return genes if self.basis == "dct" else 1 << max(0, genes - 1).bit_length()


def check_sanitized(sanitize: Sanitize, schema: Schema) -> None:
    """Raise ValueError unless rows of ``schema`` can be sanitized so."""
    if schema.tokens is not None or schema.dosages:
        raise ValueError("sanitize: expected rows of expression, got codes of tokens or dosages")
    kept, genes = sanitize.kept(len(schema.genes)), len(schema.genes)
    if sanitize.keep != "all" and kept > genes:
        raise ValueError(f"sanitize.keep: expected at most the {genes} genes of the schema, got {kept}")
    if sanitize.kind == "metric" and sanitize.epsilon is not None and kept < 10:
        raise ValueError(f"sanitize.keep: expected 10 or more coefficients with kind = 'metric', got {kept}")


class SiteEntry(Strict):
    """One hospital of the roster."""

    name: Name
    cap: int = Field(ge=1, description="public cap on its donors; a site above it takes no part")
    key: Key = Field(default="", description="its Ed25519 public key, 64 hex digits")


class Study(Strict):
    """Everything all sides must agree on. Two studies are the same if their digests are."""

    name: Name
    schema_: Schema = Field(alias="schema")
    methods: tuple[MethodSpec, ...] = Field(min_length=1)
    privacy: Privacy
    donors_bound: int = Field(ge=1, description="public bound N̄ on the donors of all sites, for δ and means")
    quorum: int = Field(ge=1, description="fewest sites whose sum may be opened")
    roster: tuple[SiteEntry, ...] = Field(min_length=1)
    parties: tuple[Key, ...] = Field(default=(), max_length=PARTIES, description="the three parties' public keys")
    dealer: Key = Field(default="", description="the dealer's public key, where a select query needs one")
    secure: Literal["on", "off"] = Field(default="on", description="off: plain sums, only under trust local or none")
    holdout: Holdout | None = Field(default=None, description="donors that sites keep from training, for the audit")
    sanitize: Sanitize | None = Field(default=None, description="how sites perturb rows before anything is asked")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sanitize is not None:
            check_sanitized(self.sanitize, self.schema_)
        for what, names in (
            ("site", [site.name for site in self.roster]),
            ("method", [method.label for method in self.methods]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"expected every {what} name once, got {names}")
        if self.quorum > len(self.roster):
            raise ValueError(f"expected quorum <= sites, got quorum={self.quorum}, sites={len(self.roster)}")
        if self.secure == "off" and self.privacy.trust not in PLAIN:
            raise ValueError("expected secure 'off' only with trust 'local' or 'none'")
        if self.privacy.delta is not None and self.privacy.delta > 1 / (10 * self.donors_bound):
            limit = 1 / (10 * self.donors_bound)
            raise ValueError(f"expected delta <= 1 / (10 · donors_bound) = {limit:.3g}, got {self.privacy.delta:.3g}")
        if self.keyed:
            self.keys.check()
        return self

    @property
    def keyed(self) -> bool:
        """True once a role's key is named; then all must be."""
        return bool(self.parties or self.dealer or any(site.key for site in self.roster))

    @property
    def keys(self) -> Roster:
        """Who takes part, as parties check it."""
        sites = tuple((site.name, site.cap, site.key) for site in self.roster)
        return Roster(sites=sites, parties=self.parties, dealer=self.dealer)

    def with_keys(self, sites: Mapping[str, str], parties: Sequence[str], dealer: str = "") -> Self:
        """Return this study with the public keys of its roles: another study, with another digest.

        Args:
            sites: Each site's key by name, for all sites of the roster.
            parties: The three parties' keys, in order; none, with empty site keys, takes all keys away.

        Raises:
            SpecError: a role lacks a key of its own.
        """
        require(set(sites) == {site.name for site in self.roster}, "a key for every site of the roster")
        if parties or dealer or any(sites.values()):
            Roster(
                sites=tuple((name, 1, key) for name, key in sites.items()), parties=tuple(parties), dealer=dealer
            ).check()
        roster = [site.model_dump() | {"key": sites[site.name]} for site in self.roster]
        fields = {"roster": roster, "parties": list(parties), "dealer": dealer}
        return self.model_validate(self.model_dump(by_alias=True) | fields)

    def without_keys(self) -> Self:
        """Return this study without anybody's key: what seeded releases, made by no one in particular, print."""
        return self.with_keys({site.name: "" for site in self.roster}, ())

    @property
    def digest(self) -> str:
        """Hex SHA-256 over every field."""
        return digest_of("study", self.model_dump(mode="json", by_alias=True))

    def terms(self, plan: Plan) -> Terms:
        """Return the terms that every query of ``plan`` carries."""
        return Terms(
            caps=tuple((site.name, site.cap) for site in self.roster),
            colluders=self.privacy.colluders,
            quorum=self.quorum,
            roster=self.keys.digest,
            plan=plan.digest,
        )


class Plan(Strict):
    """The multiset of mechanisms a run may use, retries included: priced, reserved and spent whole.

    An empty plan is that of trust model ``none``.
    """

    mechanisms: tuple[Mechanism, ...] = ()

    @property
    def digest(self) -> str:
        """Hex SHA-256 over every mechanism."""
        return digest_of("plan", self.model_dump(mode="json"))

    @property
    def selects(self) -> bool:
        """True if it holds a selection: parties then need a dealer."""
        return any(m.kind == "exponential" for m in self.mechanisms)

    def allowed(self, mechanism: Mechanism) -> int:
        """Return how many queries of this form the plan holds."""
        return sum(m.count for m in self.mechanisms if m.form == mechanism.form)

    @classmethod
    def with_reserve(cls, mechanisms: tuple[Mechanism, ...], retries: float, steps: tuple[int, ...] = ()) -> Plan:
        """Return the plan of ``mechanisms`` with ``retries`` of the queries of each on top, rounded down.

        Args:
            mechanisms: What is asked if nothing fails.
            retries: Share of the queries.
            steps: As how many of its count one query of each is charged: those of local training that it answers
                for. A reserve of less than a whole query would be paid for and never used. Empty: one each.

        Raises:
            SpecError: not one number of steps a mechanism, or a count that is no whole number of queries.

        >>> rounds = Mechanism(kind="gaussian", level=1.0, count=50)
        >>> Plan.with_reserve((rounds,), 0.05).mechanisms[0].count
        52
        >>> Plan.with_reserve((rounds,), 0.05, (2,)).mechanisms[0].count  # 25 rounds of two steps, and one more
        52
        >>> Plan.with_reserve((rounds,), 0.05, (5,)).mechanisms[0].count  # half a round would be of no use
        50
        """
        steps = steps or (1,) * len(mechanisms)
        require(len(steps) == len(mechanisms), "one number of steps a mechanism", found=len(steps))
        return cls(mechanisms=tuple(_reserved(m, retries, each) for m, each in zip(mechanisms, steps, strict=True)))


def _reserved(mechanism: Mechanism, retries: float, each: int) -> Mechanism:
    whole = each >= 1 and mechanism.count % each == 0
    require(whole, "a count of whole queries", count=mechanism.count, steps=each)
    return replace(mechanism, count=mechanism.count + each * math.floor(mechanism.count // each * retries))
