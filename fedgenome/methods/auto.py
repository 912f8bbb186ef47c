"""Which method an experiment gets that asks for ``auto``: read off public facts; its Study names the method itself.

How much can be learned goes with donors · ε, as noise in a mean is about 1 / (donors · ε); where each site adds noise
of its own, with donors · ε / √sites. Bounds are read off what ``experiments/synthesis/chosen.py`` prints: tuning splits
of one cohort of 868 donors, 909 genes and five labels, at several ε; other sizes are by that rule, not by measurement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedgenome.errors import require
from fedgenome.methods.gaussian import MOST_GENES
from fedgenome.study import MethodSpec, Privacy

KIND = "auto"
NOTHING = 90.0  # donors · ε: at half of it what is drawn taught no more than which label is commonest
MEANS = 900.0  # donors · ε: from here, noisy label means teach classifiers more than a noisy classifier does
SHARED = 4500.0  # donors · ε: from here, pairs of genes drawn as related are so over five times as often as any pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A method, and why it and no other.

    Attributes:
        kind: Of the registry.
        options: Its options, where they are not the defaults.
        because: One sentence without a full stop.
        warning: What an operator should hear before a run; empty if nothing.
    """

    kind: str
    options: Mapping[str, object] = field(default_factory=dict)
    because: str
    warning: str = ""


def choose(genes: int, donors_bound: int, epsilon: float | None, apart: int = 1) -> Choice:
    """Return the choice for a study.

    Args:
        genes: In the panel: the covariance of many is genes²/2 numbers, which ``factors`` do not ask for.
        donors_bound: Public bound on the donors of all sites.
        epsilon: ε that the method has; None without privacy.
        apart: How many add noise of their own: 1, or all sites under trust local.

    Raises:
        SpecError: not donors_bound >= 1 and epsilon > 0.
    """
    sharing = "gaussian" if genes <= MOST_GENES else "factors"
    if epsilon is None:
        return Choice(kind=sharing, because="without noise it keeps what genes share")
    require(donors_bound >= 1 and epsilon > 0, "donors_bound >= 1, epsilon > 0", donors=donors_bound, epsilon=epsilon)
    carried = donors_bound * epsilon / math.sqrt(apart)
    seen = f"donors · ε{' / √sites' if apart > 1 else ''} = {carried:,.0f}"
    if carried >= SHARED:
        return Choice(kind=sharing, because=f"{seen}, at least {SHARED:,.0f}: what genes share shows")
    if carried >= MEANS:
        because = f"{seen}, under {SHARED:,.0f}: label means can be learned, what genes share cannot"
        return Choice(kind="gaussian", options={"covariance": "diagonal"}, because=because)
    warning = (
        f"{seen}, under {NOTHING:,.0f}: too few donors for this ε; what is drawn teaches little more than which label "
        "is commonest"
    )
    return Choice(
        kind="inverted",
        because=f"{seen}, under {MEANS:,.0f}: labels can be told apart, their means cannot be learned",
        warning=warning if carried < NOTHING else "",
    )


def chosen(
    methods: Sequence[MethodSpec],
    privacy: Privacy,
    genes: int,
    donors_bound: int,
    sites: int,
    *,
    dosages: bool = False,
) -> dict[str, Choice]:
    """Return what each of ``methods`` that is ``auto`` gets, by label. Of ε it has what its noise leaves it, about.

    Args:
        methods: Of the experiment.
        privacy: The study's.
        genes: In the panel.
        donors_bound: Public bound on the donors of all sites.
        sites: Number of sites.
        dosages: Whether rows are dosages: then there is one method that keeps them so.
    """
    if dosages:
        whole = Choice(kind="genotypes", because="rows are dosages")
        return {spec.label: whole for spec in methods if spec.kind == KIND}
    total = math.fsum(spec.noise**-2 for spec in methods)
    apart = sites if privacy.trust == "local" else 1

    def own(spec: MethodSpec) -> float | None:
        return None if privacy.epsilon is None else privacy.epsilon / (spec.noise * math.sqrt(total))

    return {spec.label: choose(genes, donors_bound, own(spec), apart) for spec in methods if spec.kind == KIND}


def resolved(methods: Sequence[MethodSpec], choices: Mapping[str, Choice]) -> tuple[MethodSpec, ...]:
    """Return ``methods`` with those of ``choices`` in place of ``auto``, under the same names; given options hold."""

    def one(spec: MethodSpec) -> MethodSpec:
        if spec.label not in choices:
            return spec
        choice = choices[spec.label]
        options = {**choice.options, **spec.options}
        return MethodSpec.model_validate(
            {**spec.model_dump(), "kind": choice.kind, "name": spec.label, "options": options}
        )

    return tuple(one(spec) for spec in methods)


def told(choices: Mapping[str, Choice]) -> tuple[str, ...]:
    """Return what was chosen and why, a line a method."""
    return tuple(f"methods.{label}: {choice.kind}, as {choice.because}" for label, choice in choices.items())


def warnings(choices: Mapping[str, Choice]) -> tuple[str, ...]:
    """Return what an operator should hear before a run."""
    return tuple(f"methods.{label}: {choice.warning}" for label, choice in choices.items() if choice.warning)
