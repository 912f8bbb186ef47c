"""GAN-leaks: how well a generator's samples reconstruct a record (threat: query access).

Source: Chen et al. 2020, "GAN-Leaks: A Taxonomy of Membership Inference Attacks against Generative
Models" (full black-box attack and attack calibration).
"""

from __future__ import annotations

from fedgenome.audit.distance import nearest_in_class
from fedgenome.audit.targets import Records, Target
from fedgenome.query import Array


def reconstruction(people: Records, target: Target, _base: Records) -> Array:
    """Score rows by minus their reconstruction error, float64 (rows,).

    The error is the distance to the nearest of many samples *of the row's class*: the generators
    are conditional, and an attacker who knows a record knows its class. With samples of a reference
    generator their error is taken off (the calibrated attack). The control base is not used.
    """
    error = nearest_in_class(people, target.samples)
    if target.reference is None:
        return -error
    return nearest_in_class(people, target.reference) - error
