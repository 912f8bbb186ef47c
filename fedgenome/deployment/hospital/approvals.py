"""Which Studies a hospital takes part in: one file each, put there by the hospital and by nobody else.

``STATE/approved/<study digest>.json`` is the signed Study as it was approved. No file, no join; removing it ends
a run that is under way at its next question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fedgenome import files, trust
from fedgenome.deployment.hospital import policy
from fedgenome.deployment.hospital.site import LEDGER, SiteConfig, shard_of
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import Refused, SpecError
from fedgenome.federation.site import Signatures
from fedgenome.privacy import replay
from fedgenome.privacy.books import FREE, Books, Cost, total
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.study import Plan, SiteEntry, Study

FOLDER = "approved"  # in the state folder
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHORTEST = 8  # digits that name a Study
_FEW = 3


def admit(config: SiteConfig, study: Study, plan: Plan | None, signatures: Signatures) -> None:
    """Refuse a Study that is not approved here, or that the policy, as it stands now, does not allow.

    Raises:
        Refused: ``not-approved`` or ``policy``.
    """
    if not is_approved(config.state, study.digest):
        raise Refused("not-approved", f"the hospital has not approved study {study.digest}")
    policy.check(config.policy, study, plan, signatures, config.public, config.seed is not None, site=config.name)


def is_approved(state: Path, digest: object) -> bool:
    """Whether the Study of this digest is approved; what is no digest is not."""
    known = isinstance(digest, str) and _DIGEST.fullmatch(digest)
    return bool(known) and (state / FOLDER / f"{digest}.json").is_file()


def check(config: SiteConfig, signed: SignedStudy) -> None:
    """Refuse a Study that this site cannot or may not take part in: policy, own key, budget, data that do not fit.

    Raises:
        Refused: ``policy``: names the line of ``site.toml``.
        BudgetRefused: the ledger's plans leave too little for a run of it.
        SpecError: the roster does not name this site's key, its data do not fit, or are more than its cap.
            It may quote a record: for the hospital's eyes only.
    """
    study, own, seeded = signed.study, _entry(config, signed.study), config.seed is not None
    policy.check(config.policy, study, None, signed.wire, config.public, seeded, site=config.name)
    check_key(config, study)
    left_after(config, study)
    if (donors := shard_of(config, study.schema_).n_donors) > own.cap:
        raise SpecError(f"{config.cohort.source}: expected at most {own.cap} donors, as the roster says, got {donors}")


def left_after(config: SiteConfig, study: Study) -> Cost | None:
    """Return what of ε and δ no plan would hold once a run of ``study`` did; None without a budget.

    A run that the ledger holds already, and that goes on, is not counted twice.

    Raises:
        BudgetRefused: it would not fit, so that the agent would refuse at ``join``.
        SpecError: the ledger is damaged.
    """
    told, path = study.privacy, config.state / LEDGER
    books = replay.verify(path).books if path.exists() else Books()
    held = any(run.study == study.digest and not run.closed for run in books.runs.values())
    seeded = config.seed is not None
    price = FREE if held or seeded or told.epsilon is None or told.delta is None else (told.epsilon, told.delta)
    kind = "none" if told.epsilon is None else "simulation" if seeded else "private"
    books.check_price(kind, price, trust.unit(study), config.budget)
    return None if config.budget is None else config.budget.left(total([books.reserved(), price]))


def check_key(config: SiteConfig, study: Study) -> None:
    """Refuse a Study that has another key than this state folder's under the site's name.

    Raises:
        SpecError: it has, or has no such site; its answers would be signed by nobody of the roster.
    """
    own, public = _entry(config, study), Identity.load(config.state / IDENTITY).public
    if study.keyed and own.key != public:
        raise SpecError(f"{study.name}: expected {config.name}'s key {public} in the roster, got {own.key}")


def approve(config: SiteConfig, signed: SignedStudy) -> Path:
    """Approve a Study that :func:`check` passes; return the file."""
    check(config, signed)
    folder = config.state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{signed.study.digest}.json"
    signed.save(path)
    return path


def revoke(state: Path, digest: str) -> str:
    """Take an approval back; return the whole digest.

    Args:
        digest: The Study's, or its first digits, eight or more.

    Raises:
        SpecError: no approved Study, or several, begin with it.
    """
    found = [whole for whole in digests(state) if len(digest) >= _SHORTEST and whole.startswith(digest)]
    if len(found) != 1:
        known = ", ".join(whole[:_SHORTEST] for whole in digests(state)) or "none is approved"
        raise SpecError(f"{digest}: expected the digest of one approved study, or its first digits; {known}")
    (state / FOLDER / f"{found[0]}.json").unlink()
    files.sync(state / FOLDER)
    return found[0]


def listed(state: Path) -> tuple[SignedStudy, ...]:
    """Return the approved Studies, in the order in which they were approved.

    Raises:
        SpecError: a file there is no signed Study, or another than its name says.
    """
    return tuple(_load(state, digest) for digest in digests(state))


def digests(state: Path) -> list[str]:
    """Return the digests of the approved Studies, in the order in which they were approved."""
    found = [path for path in (state / FOLDER).glob("*.json") if _DIGEST.fullmatch(path.stem)]
    return [path.stem for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.stem))]


def _load(state: Path, digest: str) -> SignedStudy:
    path = state / FOLDER / f"{digest}.json"
    signed = SignedStudy.load(path)
    if signed.study.digest != digest:
        raise SpecError(f"{path}: expected the study of this digest, got {signed.study.digest}")
    return signed


def _entry(config: SiteConfig, study: Study) -> SiteEntry:
    own = next((one for one in study.roster if one.name == config.name), None)
    if own is None:
        raise SpecError(
            f"{study.name}: expected {config.name} in the roster, got {_some([s.name for s in study.roster])}"
        )
    return own


def text(config: SiteConfig, signed: SignedStudy) -> str:
    """Return what this site would agree to, in plain words."""
    return "\n".join(f"{what:10} {said}" for what, said in _facts(config, signed))


def _facts(config: SiteConfig, signed: SignedStudy) -> Iterator[tuple[str, str]]:
    study, told = signed.study, signed.study.privacy
    yield "study", f"{study.name}, digest {study.digest}"
    yield "signed by", ", ".join(signer for signer, _ in signed.signatures) or "nobody"
    schema = study.schema_
    what = "genes" if schema.tokens is None else f"positions of sequences, {schema.tokens.size} tokens"
    yield "reads", f"{len(schema.genes)} {what} ({_some(schema.genes)}), values {schema.low:g} to {schema.high:g}"
    yield "classes", _some(schema.labels)
    yield "methods", ", ".join(method.kind for method in study.methods)
    if study.holdout is not None:
        yield "held back", f"{study.holdout.share:.0%} of donors, by this site's coins: for the audit, not for training"
    if study.sanitize is not None:
        yield "sanitized", study.sanitize.text
    yield "protection", trust.protects(study)
    if told.epsilon is not None and told.delta is not None:
        yield "cost", f"ε = {told.epsilon:g}, δ = {told.delta:g}: {trust.adjacency(study)}"
    else:
        yield "cost", "no ε: what leaves protects nobody"
    if (left := left_after(config, study)) is not None and config.budget is not None:
        most = f"of ε = {config.budget.epsilon:g}, δ = {config.budget.delta:g}"
        yield "budget", f"ε = {left[0]:.6g}, δ = {left[1]:.3g} left after a run of it, {most}"
    yield "sites", f"{len(study.roster)} ({_some([site.name for site in study.roster])}), opened from {study.quorum} on"
    yield "this site", f"{config.name}, with at most {_entry(config, study).cap} donors"
    yield "parties", ", ".join(f"{key[:16]}…" for key in study.parties) or "none: sums are not secret"
    yield "dealer", f"{study.dealer[:16]}…" if study.dealer else "none"


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = f", … {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
