"""The Study of a deployment: what an experiment file says, with the keys of a roster file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedgenome import prepare, trust
from fedgenome.card import epsilon_text
from fedgenome.cohort import expression
from fedgenome.deployment.consortium import deal
from fedgenome.deployment.consortium.nodes import Node
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import SpecError
from fedgenome.experiment import Experiment
from fedgenome.prepare import Prepared
from fedgenome.secure.roster import RosterFile
from fedgenome.streams import Root
from fedgenome.study import Schema, Study


def make(spec: Experiment, roster: RosterFile, nodes: Mapping[str, Node], key: str | None) -> Study:
    """Return the Study that ``fedgenome run --on`` prepares of the same files.

    With a ``[schema]`` the sites are the roster's, and each has the cap that it asked for; with a ``[cohort]`` they
    are those of its split, and all have ``caps.site_cap``.

    Args:
        spec: The experiment.
        roster: Everybody's keys.
        nodes: The node list, for the caps that sites asked for; empty: ``caps.site_cap`` for all.
        key: Hex key of the dealing stream; None where nothing was dealt.

    Raises:
        SpecError: the experiment does not fit its cohort, the roster or the sites' caps.
    """
    _check_caps(spec, roster, nodes)
    if spec.schema_ is not None:
        caps = {name: nodes[name].cap if nodes else spec.caps.site_cap for name, _ in roster.sites}
        return keyed(prepare.without_cohort(spec, caps), roster)
    root = Root.of(spec.seed, "driver") if key is None else deal.root(key, seeded=spec.seed is not None)
    return keyed(prepare.prepare(spec, root.stream("split").generator()), roster)


def keyed(prepared: Prepared, roster: RosterFile) -> Study:
    """Return a prepared experiment's Study with the roster's keys; the dealer's only where a method selects.

    Raises:
        SpecError: the roster names other sites, or no dealer where one is needed.
    """
    named, wanted = {name for name, _ in roster.sites}, {site.name for site in prepared.study.roster}
    if named != wanted:
        astray = [f"{name} is only in the roster" for name in sorted(named - wanted)]
        astray += [f"{name} is only in the experiment" for name in sorted(wanted - named)]
        raise SpecError(f"roster: expected the experiment's sites, {'; '.join(astray)}")
    if prepared.plan.selects and not roster.dealer:
        raise SpecError("roster: expected a dealer, as a method of the experiment selects")
    dealer = roster.dealer if prepared.plan.selects else ""
    return prepared.study.with_keys(dict(roster.sites), roster.parties, dealer)


def _check_caps(spec: Experiment, roster: RosterFile, nodes: Mapping[str, Node]) -> None:
    for name, _ in roster.sites if nodes else ():
        if name not in nodes:
            raise SpecError(f"nodes: expected a node for every site of the roster, got none for {name}")
        if nodes[name].cap > spec.caps.site_cap:
            raise SpecError(
                f"caps.site_cap: expected at least the {nodes[name].cap} donors that {name} asked for, "
                f"got {spec.caps.site_cap}"
            )


def described(signed: SignedStudy) -> str:
    """Return the terms of a Study in plain words, for those who are to sign or approve it."""
    study, schema = signed.study, signed.study.schema_
    methods = ", ".join(f"{method.label} ({method.kind})" for method in study.methods)
    what = "genes" if schema.tokens is None else "positions"
    signers = [signer for signer, _ in signed.signatures]
    lines = [
        ("study", study.name),
        ("digest", study.digest),
        ("signed by", signers[0] if signers else "nobody yet"),
        *(("", signer) for signer in signers[1:]),
        ("methods", methods),
        ("data", f"{len(schema.genes)} {what} in [{schema.low:g}, {schema.high:g}], {len(schema.labels)} classes"),
        ("genes", schema.panel or "listed in the study"),
        *(("", text) for text in _reading(schema)),
        ("unit", schema.unit),
        ("trust", f"{study.privacy.trust}: {trust.protects(study)}"),
        ("privacy", _privacy(study)),
        ("sites", f"{len(study.roster)}, at least {study.quorum} of them in every sum that is opened"),
        ("donors", f"at most {study.donors_bound} in all"),
        ("secure sums", study.secure),
        *([("held back", f"{study.holdout.share:.0%} of donors, for the audit alone")] if study.holdout else []),
        *([("sanitized", study.sanitize.text)] if study.sanitize else []),
        *(("site", f"{site.name:15} at most {site.cap} donors, key {site.key or '(none)'}") for site in study.roster),
        *(("party", f"party-{index:<9} key {key}") for index, key in enumerate(study.parties)),
        *([("dealer", f"{'':15} key {study.dealer}")] if study.dealer else []),
    ]
    return "\n".join(f"{name:12}{text}".rstrip() for name, text in lines)


def _reading(schema: Schema) -> Iterator[str]:
    if schema.fill is not None:
        yield f"{schema.fill:g} for what is not measured, of at most {schema.lacking:.0%} of the genes at a site"
    if schema.batch == "ranks":
        yield "normal scores of the ranks within each row"
    if schema.rows_per_donor is not None:
        yield f"at most {schema.rows_per_donor} rows of a donor"


def _privacy(study: Study) -> str:
    told = study.privacy
    if told.epsilon is None or told.delta is None:
        return "none: no noise at all"
    return (
        f"ε = {epsilon_text(told.epsilon)} and δ = {told.delta:g} for the whole plan, {trust.adjacency(study)}, "
        f"up to {told.colluders} colluding parties"
    )


def public_facts(spec: Experiment) -> dict[str, Any]:
    """Return the ``[schema]`` of an experiment's public cohort: names, classes and range, for who does not have it.

    Raises:
        SpecError: the cohort is not declared public, so that its genes are not either, or it cannot be read.
    """
    if spec.cohort is None:
        raise SpecError("cohort: expected a public cohort, got a [schema] already")
    cohort = expression.read(spec.cohort)
    if not cohort.public:
        raise SpecError(
            f"cohort.source: expected a public cohort, got {spec.cohort.source}: what names its columns have is not "
            "known to be public; write the [schema] by hand"
        )
    return expression.schema_of(cohort, spec.cohort).model_dump(mode="json")
