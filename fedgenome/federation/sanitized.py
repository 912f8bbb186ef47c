"""A site's rows as its methods see them where the Study has them sanitized: charged, then perturbed, once."""

from __future__ import annotations

import hashlib
import hmac

from fedgenome.cohort.shard import Shard
from fedgenome.privacy.ledger import Ledger
from fedgenome.privacy.sanitized import Sanitized
from fedgenome.streams import Root
from fedgenome.study import Study


def sanitized(study: Study, shard: Shard, root: Root, ledger: Ledger) -> Shard:
    """Return ``shard`` as the Study has it perturbed, canaries included; as it is where it asks for none.

    The same rows under the same sanitizer are perturbed the same way in every run (``sanitize.rows``), and recorded
    in the ledger once.

    Args:
        root: The site's lasting secret, or a simulation's root.
        ledger: Written before anything is perturbed.
    """
    spec = study.sanitize
    if spec is None:
        return shard
    from fedgenome.sanitize import guarantee, rows  # loads scipy, and is needed only here

    promised = guarantee.Guarantee.of(spec, study.schema_)
    drawn = spec.epsilon is not None or spec.labels_epsilon is not None
    ledger.sanitize(
        Sanitized(
            data=_data(shard, root, rows.naming(spec, study.schema_)),
            study=study.digest,
            claim="none" if not drawn else "simulation" if root.seeded else "private",
            kind=spec.kind,
            epsilon=spec.epsilon,
            diameter=promised.diameter,
            rounding=None if spec.epsilon is None else promised.rounding,
            labels_epsilon=spec.labels_epsilon,
        )
    )
    return rows.sanitize(shard, spec, study.schema_, root)


def _data(shard: Shard, root: Root, named: str) -> str:
    """Return a digest of rows, labels and donors that nobody without the site's secret can guess at."""
    seen = hashlib.sha256()
    for array in (shard.x, shard.label, shard.donor, shard.mask):
        seen.update(hashlib.sha256(array.tobytes()).digest())
    for donor in shard.donors:
        seen.update(hashlib.sha256(donor.encode()).digest())
    return hmac.digest(root.derive("sanitize", named, "data"), seen.digest(), "sha256").hex()
