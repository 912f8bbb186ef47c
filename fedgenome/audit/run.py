"""The audit: attacks on a table and on the model that made it, with intervals, and the attacks' own controls.

Who is compared with whom: *members* are the training donors, *controls* donors drawn at random from
the same cohort before training and kept apart. Given the table and the control base, a member's and
a control's score have the same law if the table does not depend on who was a member; that is all the
intervals and the p-values need. The control base must be real donors who are neither, so unless one
is passed a random third of the controls becomes the base, and only the other two thirds are
evaluated. (Distances to all controls, leaving a control itself out, would keep all of them but give
members one neighbour more than controls; a base of synthetic rows fitted to members would leak.)

All of it reads real members and controls: it is not differentially private and stays internal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from fedgenome.audit import checks, measure
from fedgenome.audit.attribute import inferred
from fedgenome.audit.bounds import ranking
from fedgenome.audit.checks import Score
from fedgenome.audit.densities import density_ratio, monte_carlo
from fedgenome.audit.distance import closest_record
from fedgenome.audit.gan_leaks import reconstruction
from fedgenome.audit.logan import discriminator
from fedgenome.audit.model_loss import calibrated, model_loss
from fedgenome.audit.near_copies import NAME, near_copies
from fedgenome.audit.results import Attack, Audit
from fedgenome.audit.scales import Scale, Told
from fedgenome.audit.scores import Scores
from fedgenome.audit.targets import Records, Target
from fedgenome.errors import require

ATTACKS: dict[str, Score] = {
    "closest-record": closest_record,
    "gan-leaks": reconstruction,
    "domias": density_ratio,
    "monte-carlo": monte_carlo,
    "logan": discriminator,
    "attribute": inferred,
}
THREATS = {
    "closest-record": "synthetic data only",
    "gan-leaks": "query access to the generator",
    "domias": "synthetic data, other people's rows",
    "monte-carlo": "query access to the generator",
    "logan": "synthetic data, other people's rows",
    "attribute": "synthetic data, other people's rows, three quarters of a record's genes",
    "model-loss": "released weights",
    "model-loss-calibrated": "released weights, other people's rows",
}
ON_MODEL: dict[str, Score] = {"model-loss": model_loss, "model-loss-calibrated": calibrated}
_DRAWING = ("gan-leaks", "monte-carlo")  # are on the model where it draws more than the table
# The gate's: the others withhold more tables that do not leak, and found nothing that these miss (docs/decisions.md).
STANDARD = ("closest-record", "gan-leaks")
STANDARD_ON_MODEL = ("model-loss-calibrated",)
EVERY = {**ATTACKS, **ON_MODEL}
GATE = (*STANDARD, *STANDARD_ON_MODEL)
FEWEST = 6  # control donors: 2 for the base, 4 evaluated, of whom the blind attacker judges 2
FEWEST_MEMBERS = 4
_BASE = 3  # one control in three becomes the base

Progress = Callable[[str], None]


def audit(
    *,
    members: Records,
    controls: Records,
    synthetic: Records | None,
    scale: Scale,
    rng: np.random.Generator,
    samples: Records | None = None,
    losses: Told | None = None,
    base: Records | None = None,
    generator_reference: Records | None = None,
    attacks: Sequence[str] = GATE,
    unit: str = "row",
    progress: Progress = lambda step: None,
) -> Audit:
    """Attack a synthetic table, the model that made it, or a model alone; and check the attacks.

    Args:
        members: Rows of the training donors.
        controls: Rows of donors kept apart before training; at least ``FEWEST`` donors, or 4 with ``base``.
        synthetic: The table to be released; None for a model that makes none.
        scale: What the numbers of all rows are.
        rng: Splits controls, draws control tables. The same state gives the same audit.
        samples: Many more rows of the released generator, for GAN-leaks; default: the table.
        losses: The released model's; None where no model leaves: it then has no such attack.
        base: Real donors disjoint from members and controls; default: a third of the controls.
        generator_reference: Rows of a generator that never saw members, to calibrate GAN-leaks.
        attacks: Which of ``ATTACKS`` to run on the table, where near-copies are always looked for, and which of
            ``ON_MODEL`` on the model.
        unit: The word for one unit.
        progress: Told each step's name.

    Raises:
        SpecError: On differing genes, an empty table, too few donors, or an unknown attack.
    """
    given = {"members": members, "controls": controls, "synthetic": synthetic, "samples": samples, "base": base}
    _check(given | {"generator_reference": generator_reference})
    chosen = _chosen(attacks, synthetic is not None, losses is not None)
    progress("scale")
    people, others = scale.of(members), scale.of(controls)
    table = synthetic or Records(x=members.x[:0], label=members.label[:0])
    target = _scaled(scale, table, samples, generator_reference, losses)
    others, own = (others, scale.of(base)) if base else split_base(others, rng)
    results = tuple(_attacked(chosen, people, others, target, own, progress))
    progress(NAME)
    copies = (near_copies(people, others, target),) if synthetic else ()
    progress("checks")
    return Audit(
        attacks=results,
        near_copies=copies,
        checks=checks.of_attacks(chosen, people, others, own, target, rng, on_model=ON_MODEL),
        members=len(people.units),
        controls=len(others.units),
        base=len(own.units),
        rows=len(target.table),
        samples=len(target.samples),
        unit=unit,
        detectable_auc=ranking.detectable_auc(len(people.units), len(others.units), len(results) + len(copies)),
    )


def _scaled(
    scale: Scale, table: Records, samples: Records | None, reference: Records | None, losses: Told | None
) -> Target:
    """Return what is attacked, its numbers as attacks compare them."""
    made = scale.of(table)
    return Target(
        table=made,
        samples=scale.of(samples) if samples else made,
        reference=scale.of(reference) if reference else None,
        losses=scale.losses(losses) if losses else None,
    )


def _attacked(
    names: Iterable[str], members: Records, controls: Records, target: Target, base: Records, progress: Progress
) -> Iterator[Attack]:
    for name in names:
        progress(name)
        yield attack(name, members, controls, target, base)


def named(attacks: Sequence[str]) -> tuple[str, ...]:
    """Return the attacks of these names, each once, in the order of ``EVERY``.

    Raises:
        SpecError: No attack, or one that is none.
    """
    strange = [name for name in attacks if name not in EVERY]
    require(bool(attacks) and not strange, f"attacks of {', '.join(EVERY)}", attacks=", ".join(strange) or "none")
    return tuple(name for name in EVERY if name in attacks)


def _chosen(attacks: Sequence[str], table: bool, model: bool) -> dict[str, Score]:
    """Return those of the attacks that have something to attack.

    Raises:
        SpecError: None has.
    """
    able = {name: EVERY[name] for name in named(attacks) if (model if name in ON_MODEL else table)}
    require(bool(able), "a table for attacks on tables, a model for those on models", attacks=", ".join(attacks))
    return able


def attack(name: str, members: Records, controls: Records, target: Target, base: Records) -> Attack:
    """Run the attack ``name`` on scaled records and return what it achieved, by donor."""
    score, drawn = EVERY[name], target.samples is not target.table
    inside, outside = (Scores.of(who, score(who, target, base)) for who in (members, controls))
    of_model = name in ON_MODEL or (name in _DRAWING and drawn)
    return measure.of_rows(name, THREATS[name], inside, outside, "model" if of_model else "data")


def split_base(controls: Records, rng: np.random.Generator) -> tuple[Records, Records]:
    """Return (evaluated controls, control base): a random third of the donors becomes the base."""
    shuffled = rng.permutation(controls.units)
    n = len(shuffled) // _BASE
    return controls.of(shuffled[n:]), controls.of(shuffled[:n])


def enough(members: Records, controls: Records) -> bool:
    """Return whether there are donors enough for :func:`audit` to run without a ``base`` of its own.

    They may still be too few for the gate: see :class:`fedgenome.audit.gate.Policy`.
    """
    return len(members.units) >= FEWEST_MEMBERS and len(controls.units) >= FEWEST


def _check(given: dict[str, Records | None]) -> None:
    genes = {name: records.x.shape[1] for name, records in given.items() if records is not None}
    require(len(set(genes.values())) == 1, "the same number of genes everywhere", **genes)
    for name, records in given.items():
        require(records is None or len(records) > 0, f"at least one row in {name}")
    fewest = {"members": FEWEST_MEMBERS, "controls": FEWEST - FEWEST // _BASE if given["base"] else FEWEST}
    for name, least in fewest.items():
        records = given[name]
        donors = len(records.units) if records else 0
        require(donors >= least, f"at least {least} donors among the {name}", donors=donors)
