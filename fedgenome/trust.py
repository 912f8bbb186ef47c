"""What a trust model means: where noise is added, whose data it hides, and from whom (DESIGN §6).

A method says how much noise its questions need; the trust model says who adds it. So the engine places a
method's mechanisms (:func:`placed`), and a site refuses a question that another model would ask
(:func:`check`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from fedgenome.errors import Refused, SpecError
from fedgenome.query import PARTIES, Mechanism, Question
from fedgenome.study import Study, TrustModel

FEW_SITES = 50  # below, noise that hides a whole site leaves little of a sum over sites


def placed(mechanism: Mechanism, trust: TrustModel) -> Mechanism:
    """Return ``mechanism`` with its noise where ``trust`` puts it.

    Raises:
        SpecError: it cannot be put there.
    """
    if trust != "local":
        return mechanism
    if mechanism.kind != "gaussian":
        raise SpecError(
            f"methods.{mechanism.scope}: trust 'local' noises sums at home, and a selection has no such form; "
            "expected trust 'distributed', or a method without selections"
        )
    return replace(mechanism, where="home")


def asked(question: Question, trust: TrustModel) -> Question:
    """Return ``question`` as ``trust`` has it asked."""
    mechanism = question.mechanism
    if mechanism is None or placed(mechanism, trust) == mechanism:
        return question
    return replace(question, mechanism=placed(mechanism, trust))


def check(question: Question, trust: TrustModel) -> None:
    """Refuse a question that is not protected as ``trust`` says: what a site asks itself before it answers.

    Raises:
        Refused: ``outside-plan``: several steps that are not local training; ``other-trust``: noise
            elsewhere, of another unit, or, under ``site``, a rate at which nobody samples sites.
    """
    mechanism, unit = question.mechanism, question.unit
    where = mechanism.where if mechanism else None
    if mechanism is not None and mechanism.count != 1 and (where, unit) != ("home", "site"):
        raise Refused("outside-plan", "one query at a time; several steps only in local training, noised at home")
    fits = {
        "none": where is None,
        "distributed": (where, unit) == ("parties", "donor"),
        "local": where == "home",
        "site": (where, unit) == ("parties", "site") and mechanism is not None and mechanism.sampling == 1,
    }
    if not fits[trust]:
        raise Refused("other-trust", f"the question is not noised as trust '{trust}' says")


def deviation(study: Study, mechanism: Mechanism) -> float:
    """Return the standard deviation, in clip norms, that an opened sum under ``mechanism`` has, nobody colluding."""
    if mechanism.where == "home":
        return mechanism.level * math.sqrt(len(study.roster))
    return mechanism.level * math.sqrt(PARTIES / (PARTIES - study.privacy.colluders))


def unit(study: Study) -> Literal["donor", "row", "site"]:
    """Return what one unit of the study's ε is."""
    return "site" if study.privacy.trust == "site" else study.schema_.unit


def adjacency(study: Study) -> str:
    """Return which two data sets the study's ε is about."""
    what = unit(study)
    return "replace all data of one site by none (zero-out)" if what == "site" else f"add or remove one {what}"


def protects(study: Study) -> str:
    """Return in one line where the noise is and from whom it hides a unit."""
    t, who = study.privacy.colluders, unit(study)
    others = f"the coordinator, {t} of {PARTIES} parties and all other sites together"
    return {
        "distributed": f"noise once, inside the secure sum: protects a {who} from recipients, {others}",
        "local": f"noise by every site at home, before anything leaves: protects a {who} from everybody outside the "
        "own site, the coordinator and all parties together included",
        "site": f"noise once, inside the secure sum of clipped site vectors: protects a site's data from recipients, "
        f"{others}; it does not hide that the site took part",
        "none": "no noise: protects nobody",
    }[study.privacy.trust]


def warnings(study: Study, queries: int) -> list[str]:
    """Return what an operator should hear before a run of ``queries`` planned queries."""
    sites = len(study.roster)
    if study.privacy.trust != "site" or (sites >= FEW_SITES and queries <= 2):  # label counts and one round
        return []
    return [
        f"trust 'site' with {sites} sites and {queries} queries: under {FEW_SITES} sites, or beyond one round, the "
        "noise that hides a site's data leaves little to learn from"
    ]
