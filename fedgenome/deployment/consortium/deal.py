"""Deal a public cohort out to hospitals of a demonstration: each gets its shard as a file of its own.

The shards are those of ``fedgenome run`` in one process: read back, they are equal byte for byte, so that a
seeded run gives the same release. Real hospitals bring their own files, and nothing is dealt.
"""

from __future__ import annotations

from pathlib import Path

from fedgenome import files, folders
from fedgenome.cohort import expression
from fedgenome.cohort.h5ad import write_h5ad
from fedgenome.cohort.shard import Shard
from fedgenome.cohort.split import Split, split
from fedgenome.cohort.table import Table
from fedgenome.deployment import disk
from fedgenome.errors import SpecError
from fedgenome.experiment import Experiment
from fedgenome.streams import Root
from fedgenome.study import Schema

DEAL = "deal"  # the file of the dealing stream's key
LABEL, DONOR = "label", "donor"  # obs columns of a shard's file; DONOR only where the unit is a donor


def deal(spec: Experiment, out: Path) -> dict[str, Path]:
    """Write every site's shard to ``out/<site>.h5ad``, and last the key of the dealing stream to ``out/deal``.

    Args:
        spec: The experiment; its cohort must be declared public.
        out: Folder of the files; made if absent.

    Returns:
        Each site's file.

    Raises:
        SpecError: the cohort is not public, breaks a rule, or was dealt to ``out`` before.
    """
    if spec.cohort is None:
        raise SpecError("cohort: expected a public [cohort] to deal out, got a [schema] alone")
    cohort = expression.read(spec.cohort)
    if cohort.filled and spec.cohort.batch == "ranks":
        raise SpecError("cohort.fill: expected a cohort measured whole, as batch = 'ranks' would rank what was filled")
    if not cohort.public:
        raise SpecError(
            f"cohort.source: expected a public cohort, got {spec.cohort.source}; hospitals bring data of their own"
        )
    if (folders.made(out, "OUT") / DEAL).exists():
        raise SpecError(f"{out / DEAL}: expected no earlier deal; hospitals keep the shards they have")
    _, key = folders.reserve(spec.seed)
    dealt = split(cohort, spec.split, root(key, seeded=spec.seed is not None).stream("split").generator())
    schema = expression.schema_of(cohort, spec.cohort)
    written = {site: _write(out / f"{site}.h5ad", shard, dealt, schema) for site, shard in dealt.sites.items()}
    files.create(out / DEAL, key.encode(), 0o600)
    return written


def load(path: Path) -> str:
    """Return the hex key of a dealing stream.

    Raises:
        SpecError: there is no such file, or it holds no key.
    """
    return disk.read_key(path, "the key of a deal", "fedgenome deal writes it").hex()


def root(key: str, *, seeded: bool) -> Root:
    """Return the dealing stream's root: ``stream("split")`` deals, others sample the release."""
    return Root(bytes.fromhex(key), seeded=seeded)


def _write(path: Path, shard: Shard, dealt: Split, schema: Schema) -> Path:
    """Write a shard in AnnData's format, whole or not at all."""
    rows = schema.unit == "row"
    # Names in the order of the rows: whoever reads the file sorts a donor's rows by them.
    names = [shard.donors[i] for i in shard.donor] if rows else [f"row-{i:09d}" for i in range(len(shard.label))]
    columns = {LABEL: [dealt.labels[i] for i in shard.label]}
    if not rows:
        columns[DONOR] = [shard.donors[i] for i in shard.donor]
    table = Table(
        source=str(path), x=shard.x, genes=dealt.genes, rows=tuple(names), columns=columns, tokens=schema.tokens
    )
    write_h5ad(table, path)
    return path
