"""The bounded query: the one form of question that fedgenome asks of hospitals (DESIGN §3, §5).

A method asks a :class:`Question`; the engine turns it into a :class:`Query` by adding who, when and
the :class:`Terms` that all sides pinned. Ring width, sensitivity, noise scale and digest are derived
here and nowhere else, so that a site, a party and the coordinator cannot disagree about them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fedgenome import addition
from fedgenome.addition import PRECISIONS, Precision
from fedgenome.errors import WireError, require
from fedgenome.selection import MOST_SCORES, Selection, scale_of
from fedgenome.selection import PARTIES as PARTIES

Array = npt.NDArray[Any]
_WORDS = {"reduce": ("sum", "select"), "unit": ("donor", "site"), "precision": PRECISIONS}
State = dict[str, Array]  # counters as 0-d int64: safetensors hold it, so it is the checkpoint

_KEY = re.compile(r"[0-9a-f]{64}")
SIGMA_TAIL = 10.0  # opened sums lie within this many standard deviations (1.5e-23 a coordinate)
_MOST_NAME = 255  # characters: sites and parties keep the names of what they answered
MOST_ELEMENTS = 25_000_000  # numbers in the largest noised answer: δ pays for the sampler's error in so many
_MIN_PARTY_SIGMA = 4.0  # ring units; below, a party's noise is refused
_ROUNDING_OK = 0.02  # largest √n / (s·C): what rounding may cost of the sensitivity
_ROUNDING_GOAL = 2.0**-10  # no finer scale is useful


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """How a query is protected, in plain numbers.

    Attributes:
        kind: ``gaussian`` for sums, ``exponential`` for selections.
        level: Noise multiplier (standard deviation / sensitivity, rounding included), or ε of one winner.
        sampling: Poisson rate q of each donor, in (0, 1].
        count: How many queries of this form; in a question, how many noised steps its answer holds
            (above 1 for local training at home only).
        where: Noise is added by the ``parties`` inside MPC, or at ``home`` by each site.
        scope: The part of the ledger that is charged.
        winners: Indices k that a selection opens: it costs k·level. 1 for sums.
    """

    kind: Literal["gaussian", "exponential"]
    level: float
    sampling: float = 1.0
    count: int = 1
    where: Literal["parties", "home"] = "parties"
    scope: str = "train"
    winners: int = 1

    def __post_init__(self) -> None:
        require(self.kind in ("gaussian", "exponential"), "kind gaussian or exponential", kind=self.kind)
        require(0 < self.level < math.inf, "0 < level < inf", level=self.level)
        require(0 < self.sampling <= 1, "0 < sampling <= 1", sampling=self.sampling)
        require(self.count >= 1, "count >= 1", count=self.count)
        require(self.where in ("parties", "home"), "where parties or home", where=self.where)
        most = 1 if self.kind == "gaussian" else MOST_SCORES
        whole = type(self.winners) is int and 1 <= self.winners <= most
        require(whole, f"1 <= winners <= {most}", kind=self.kind, winners=self.winners)

    @property
    def form(self) -> Mechanism:
        """This mechanism for a single query: what the plan counts."""
        return replace(self, count=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """What a method asks of every site.

    Attributes:
        payload: Arrays the sites need (weights, bin edges); read-only, and copied unless they were already.
        length: Numbers a site answers with.
        reply_length: Numbers the sum gives back: ``length`` for sums, the number k of winners for selections.
        bound: L2 bound C of one unit's contribution (``sum``) or Δs per score (``select``).
        mechanism: Its protection; None only under trust model ``none``.
        reduce: ``sum``, or ``select``: the indices of the k largest scores, largest first.
        unit: Whose contribution is bounded: each donor's, or the vector of a whole site.
        precision: Arithmetic in which a site adds its donors. float32 sums depend on the order of
            adding, which removing a donor changes: that is charged, for sums of 16 donors (``float32``) or
            of 128 (``float32x128``), themselves added in float64.
        monotone: For ``select``: no unit's scores are negative, so that adding one raises all or none, and
            half the noise does.
    """

    payload: Mapping[str, Array]
    length: int
    reply_length: int
    bound: float
    mechanism: Mechanism | None
    reduce: Literal["sum", "select"] = "sum"
    unit: Literal["donor", "site"] = "donor"
    precision: Precision = "float64"
    monotone: bool = False

    def __post_init__(self) -> None:
        require(self.length >= 1, "length >= 1", length=self.length)
        paid = self.mechanism is None or self.length <= MOST_ELEMENTS
        require(paid, f"at most {MOST_ELEMENTS} numbers in a noised answer, as δ pays for", length=self.length)
        require(0 < self.bound < math.inf, "0 < bound < inf", bound=self.bound)
        for name, words in _WORDS.items():
            require(getattr(self, name) in words, f"{name} one of {words}", **{name: getattr(self, name)})
        _check_reduction(self)
        frozen = {name: _read_only(array) for name, array in sorted(self.payload.items())}
        object.__setattr__(self, "payload", MappingProxyType(frozen))


def _check_reduction(question: Question) -> None:
    """Check that the noise is of the kind that suits what is done with the sum."""
    mechanism, selects = question.mechanism, question.reduce == "select"
    suits = mechanism is None or (mechanism.kind == "exponential") == selects
    require(suits, "exponential noise for a selection, Gaussian for a sum", reduce=question.reduce)
    require(question.monotone in (False, selects), "monotone for selections only")
    if not selects:
        return
    winners, m = question.reply_length, question.length
    require(1 <= winners <= m <= MOST_SCORES, f"1 <= winners <= scores <= {MOST_SCORES}", winners=winners, scores=m)
    priced = mechanism is None or (mechanism.where, mechanism.winners) == ("parties", winners)
    require(priced, "a selection noised by the parties and priced for all its winners", winners=winners)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who takes part, by name, cap and public key: what signatures are checked against.

    Attributes:
        sites: (name, cap, Ed25519 key) of every site, in roster order. Keys are 64 hex digits.
        parties: The three parties' keys, in order.
        dealer: The dealer's key; empty where nothing needs one.
        digest: Hex digest over all of the above; what :class:`Terms` carry.
    """

    sites: tuple[tuple[str, int, str], ...]
    parties: tuple[str, ...]
    dealer: str = ""
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple((str(name), int(cap), str(key)) for name, cap, key in self.sites))
        object.__setattr__(self, "parties", tuple(self.parties))
        object.__setattr__(self, "digest", digest_of("roster", [self.sites, self.parties, self.dealer]))

    @property
    def caps(self) -> tuple[tuple[str, int], ...]:
        """What :class:`Terms` hold of it."""
        return tuple((name, cap) for name, cap, _ in self.sites)

    @property
    def keys(self) -> dict[str, str]:
        """Every site's key."""
        return {name: key for name, _, key in self.sites}

    def check(self) -> None:
        """Refuse a roster in which a role has no key of its own: one key under two names would count twice.

        Raises:
            SpecError: a key is missing, malformed or there twice, or there are not three parties.
        """
        keys = [key for _, _, key in self.sites] + list(self.parties) + [self.dealer] * bool(self.dealer)
        require(len(self.parties) == PARTIES, f"{PARTIES} party keys in the roster", parties=len(self.parties))
        require(all(_KEY.fullmatch(key) for key in keys), "a key of 64 hex digits for every role of the roster")
        require(len(set(keys)) == len(keys), "another key for every role of the roster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all roles pinned before the first query.

    Attributes:
        caps: (site, most donors that site may hold) for every site of the roster, in roster order.
        colluders: Parties t that may collude without weakening ε (0 ≤ t ≤ 2).
        quorum: Fewest sites whose sum may be opened.
        roster: Hex digest of the roster.
        plan: Hex digest of the priced plan.
        digest: Hex digest over all of the above.
        donors: Public bound on the number of donors of all sites: the sum of the caps.
        largest_cap: The largest of them.
    """

    caps: tuple[tuple[str, int], ...]
    colluders: int
    quorum: int
    roster: str
    plan: str
    digest: str = field(init=False)
    donors: int = field(init=False, repr=False, compare=False)
    largest_cap: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require(0 <= self.colluders < PARTIES, f"0 <= colluders < {PARTIES}", colluders=self.colluders)
        require(1 <= self.quorum <= len(self.caps), "1 <= quorum <= sites", quorum=self.quorum, sites=len(self.caps))
        require(all(cap >= 1 for _, cap in self.caps), "every donor cap >= 1")
        object.__setattr__(self, "caps", tuple((str(site), int(cap)) for site, cap in self.caps))
        object.__setattr__(self, "donors", sum(cap for _, cap in self.caps))
        object.__setattr__(self, "largest_cap", max(cap for _, cap in self.caps))
        object.__setattr__(
            self, "digest", digest_of("terms", [self.caps, self.colluders, self.quorum, self.roster, self.plan])
        )

    @property
    def sites(self) -> int:
        """Number of sites S."""
        return len(self.caps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """A question as it travels: who asks, when, and under which terms.

    Attributes:
        study: Hex digest of the Study.
        run: The run's id, kept over resumes.
        method: Name of the method that asks.
        step: Index of the query within the method.
        attempt: Index of the try; a retry has fresh coins, seeds and noise.
        scale: Ring units per unit of the contribution, a power of two (:func:`choose_scale`).
        payload_digest: Hex digest of the payload. A site computes it; a party, which never sees the
            payload, is told it (:meth:`blind`).
        sensitivity: Δ in ring units: how far one unit can move the integer sum (L2; per score in
            ``select``). s·C, plus √n because a site's sum is rounded (two roundings of 1/2 a coordinate),
            plus what the order of adding can change in finite precision (DESIGN §6). A selection's s·Δs is
            whole, and nothing is rounded.
        sigma_ring: Standard deviation of the noise that counts: what remains when t parties' noise is
            taken off, or each site's own at home; 0: none. DG(σ²) post-processes N(0, σ² − 4), so
            σ² = (z·Δ)² + 4 (DESIGN §6).
        limit: Largest magnitude an honest opened sum can have, noise included: D·(s·C + 1) + S + 10·σ_total;
            for selections see :attr:`Selection.limit`.
    """

    question: Question
    study: str
    run: str
    method: str
    step: int
    attempt: int
    scale: float
    terms: Terms
    payload_digest: str = ""
    digest: str = field(init=False)
    sensitivity: float = field(init=False, repr=False)
    sigma_ring: float = field(init=False, repr=False)
    limit: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("step", "attempt"):
            number = getattr(self, name)
            require(type(number) is int and number >= 0, f"{name} an integer >= 0", **{name: number})
        for name in ("run", "method"):
            given = getattr(self, name)
            named = type(given) is str and len(given) <= _MOST_NAME
            require(named, f"{name} a text of at most {_MOST_NAME} characters", length=len(str(given)))
        require(self.scale > 0 and math.frexp(self.scale)[0] == 0.5, "scale a power of two", scale=self.scale)
        if not self.payload_digest:
            object.__setattr__(self, "payload_digest", _payload_digest(self.question.payload))
        facts = self.question, self.terms, self.scale
        object.__setattr__(self, "sensitivity", _sensitivity(*facts))
        object.__setattr__(self, "sigma_ring", _sigma_ring(*facts))
        object.__setattr__(self, "limit", _limit(*facts))
        rounding = _rounding(self.question, self.scale)
        require(rounding <= _ROUNDING_OK, f"rounding sqrt(n)/(s*C) <= {_ROUNDING_OK}", rounding=rounding)
        require(self.limit < 2.0**62, "a sum below 2^62 ring units", limit=self.limit)
        derived = [self.width, self.sensitivity.hex(), self.sigma_ring.hex()]
        require(
            self.sigma_ring == 0 or max(self.sigma_party, self.sigma_home) >= _MIN_PARTY_SIGMA,
            f"a noise maker's noise of at least {_MIN_PARTY_SIGMA:g} ring units",
            sigma=max(self.sigma_party, self.sigma_home),
        )
        object.__setattr__(self, "digest", digest_of("query", [self.header(), derived]))

    @property
    def sigma_party(self) -> float:
        """Standard deviation of each party's own noise: σ/√(3 − t); 0 where sites noise at home."""
        return 0.0 if self._at_home else self.sigma_ring / math.sqrt(PARTIES - self.terms.colluders)

    @property
    def sigma_home(self) -> float:
        """Standard deviation of each site's own noise: all of σ, whoever colludes; 0 where parties add it."""
        return self.sigma_ring if self._at_home else 0.0

    @property
    def _at_home(self) -> bool:
        return self.question.mechanism is not None and self.question.mechanism.where == "home"

    @property
    def width(self) -> Literal[32, 64]:
        """Bits of the ring. Two spare bits let a wrap show after opening."""
        return 32 if self.limit < 2.0**30 else 64

    @property
    def selection(self) -> Selection | None:
        """What the parties select by; None where they open the sum itself (also a selection without noise)."""
        return _selection(self.question, self.terms, self.scale)

    def header(self) -> dict[str, Any]:
        """Every field but the payload, as plain JSON values: what the digest covers and what travels.

        The terms go by digest only: whoever receives the query puts in the terms it pinned itself.
        """
        question = self.question
        mechanism = asdict(question.mechanism) if question.mechanism else None
        asked = {name: getattr(question, name) for name in _QUESTION_FIELDS} | {"mechanism": mechanism}
        when = {name: getattr(self, name) for name in _QUERY_FIELDS}
        return {"question": asked, "terms": self.terms.digest, **when}

    def blind(self) -> Query:
        """This query without its payload: same digest, for roles that must not hold the payload."""
        return replace(self, question=replace(self.question, payload={}))


_QUESTION_FIELDS = ("length", "reply_length", "bound", "reduce", "unit", "precision", "monotone")
_QUERY_FIELDS = ("study", "run", "method", "step", "attempt", "scale", "payload_digest")


def from_header(header: Mapping[str, Any], terms: Terms, payload: Mapping[str, Array] | None) -> Query:
    """Rebuild a query from its header under the receiver's own ``terms``.

    Args:
        payload: The arrays; None for a role that only gets their digest.

    Raises:
        WireError: the header is malformed, or its terms are not the receiver's.
        SpecError: a field breaks its rule.
    """
    try:
        fields = {name: header[name] for name in _QUERY_FIELDS}
        asked = dict(header["question"])
        mechanism = Mechanism(**asked.pop("mechanism")) if asked["mechanism"] else asked.pop("mechanism")
        question = Question(payload=payload or {}, mechanism=mechanism, **asked)
        theirs = header["terms"]
    except (KeyError, TypeError) as fault:
        raise WireError(f"query header: {type(fault).__name__}") from None
    if len(header) != len(_QUERY_FIELDS) + 2:  # beside question and terms: the digest covers every field or none
        raise WireError("query header: a field that is none of a query's")
    if theirs != terms.digest:
        raise WireError("query header: other terms than those pinned here")
    if payload is not None and fields["payload_digest"] != _payload_digest(question.payload):
        raise WireError("query header: payload does not match its digest")
    return Query(question=question, terms=terms, **fields)


def choose_scale(question: Question, terms: Terms) -> float:
    """Return the power of two s that a query of ``question`` is encoded with (DESIGN §5).

    The finest useful scale makes rounding 2^-10 of the bound; a coarser one is taken where that lets
    the sum fit 32 bits and rounding still costs at most 2 %. Scores are not rounded: :func:`scale_of`.

    Raises:
        SpecError: no scale fits even 64 bits.

    >>> terms = Terms(caps=(("a", 100),), colluders=0, quorum=1, roster="", plan="")
    >>> choose_scale(Question(payload={}, length=4, reply_length=4, bound=1.0, mechanism=None), terms)
    2048.0
    """
    if question.reduce == "select":
        return scale_of(question.bound)
    finest = 2.0 ** math.ceil(math.log2(math.sqrt(question.length) / (_ROUNDING_GOAL * question.bound)))
    coarsest = math.sqrt(question.length) / (_ROUNDING_OK * question.bound)
    fitting = [s for s in _halvings(finest, coarsest) if _limit(question, terms, s) < 2.0**62]
    require(bool(fitting), "a sum below 2^62 ring units at some scale", length=question.length, bound=question.bound)
    return next((s for s in fitting if _limit(question, terms, s) < 2.0**30), fitting[0])


def _halvings(finest: float, coarsest: float) -> list[float]:
    return [finest / 2**k for k in range(64) if finest / 2**k >= coarsest]


def _rounding(question: Question, scale: float) -> float:
    """What rounding costs of the sensitivity, relatively; scores must not need any."""
    if question.reduce == "sum":
        return math.sqrt(question.length) / (scale * question.bound)
    sensitivity = scale * question.bound
    require(sensitivity.is_integer(), "scores of whole ring units", sensitivity=sensitivity)
    return 0.0


def _units(question: Question, terms: Terms) -> int:
    return terms.sites if question.unit == "site" else terms.donors


def _selection(question: Question, terms: Terms, scale: float) -> Selection | None:
    if question.reduce == "sum" or question.mechanism is None:
        return None
    return Selection(
        scores=question.length,
        winners=question.reply_length,
        epsilon=question.mechanism.level,
        sensitivity=int(scale * question.bound),
        units=_units(question, terms),
        monotone=question.monotone,
    )


def _sensitivity(question: Question, terms: Terms, scale: float) -> float:
    bound = scale * question.bound
    if question.reduce == "select":
        return bound
    sampling = question.mechanism.sampling if question.mechanism else 1.0
    added = addition.error(question.precision, terms.largest_cap, sampling)
    return bound * (1 + added) + math.sqrt(question.length)


def _sigma_ring(question: Question, terms: Terms, scale: float) -> float:
    mechanism = question.mechanism
    if mechanism is None or mechanism.kind != "gaussian" or (mechanism.where == "home" and question.unit == "site"):
        return 0.0  # a site's vector of local training is noised step by step, before it is one
    return math.hypot(mechanism.level * _sensitivity(question, terms, scale), 2.0)


def _limit(question: Question, terms: Terms, scale: float) -> float:
    units = _units(question, terms)
    if question.reduce == "select":
        selection = _selection(question, terms, scale)
        return selection.limit if selection else units * scale * question.bound
    home = question.mechanism is not None and question.mechanism.where == "home"
    makers = terms.sites if home else PARTIES / (PARTIES - terms.colluders)  # each of S sites adds all of σ²
    sigma_total = _sigma_ring(question, terms, scale) * math.sqrt(makers)
    return units * (scale * question.bound + 1) + terms.sites + SIGMA_TAIL * sigma_total


def digest_of(what: str, value: object) -> str:
    """Return the hex SHA-256 of canonical JSON, separated by the kind of thing it is."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(f"fedgenome {what} 1\0{text}".encode()).hexdigest()


def _payload_digest(payload: Mapping[str, Array]) -> str:
    parts = [
        [name, array.dtype.str, list(array.shape), hashlib.sha256(np.asarray(array, order="C").data).hexdigest()]
        for name, array in sorted(payload.items())
    ]
    return digest_of("payload", parts)


def _read_only(array: Array) -> Array:
    if type(array) is np.ndarray and array.flags.owndata and not array.flags.writeable:
        return array  # of another question, or of a state that a method made: a copy would cost as much as a sum
    copy = np.array(array)
    copy.setflags(write=False)
    return copy
