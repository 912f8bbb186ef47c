"""Made-up donors by whom a release is audited: what each looks like is public, who of them is in is a site's coin.

A canary's genes are each at the lowest or the highest public value, its tokens any, by a fair draw that anybody can
repeat: nothing of it is read off data. Whether it is in is a fair coin of the site it stands at, which stays there;
one that is out is held, like a donor kept for the audit. A canary that is in counts against the site's cap.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedgenome.cohort.shard import Array, Shard
from fedgenome.streams import Root
from fedgenome.study import Schema

_PUBLIC = Root(b"fedgenome canaries, not a secret", seeded=True)
NAME = "canary {}"  # its id in a shard; a donor of that name is another: canaries are told by Shard.canary


def rows(schema: Schema, first: int, count: int) -> tuple[Array, Array]:
    """Return the canaries from number ``first`` on, float32 (count, genes), and labels.

    Genes are at either end of the range; tokens are any known one, uniformly.
    """
    genes, numbers = len(schema.genes), range(first, first + count)
    label = np.array([i % len(schema.labels) for i in numbers], np.int64)
    if schema.tokens is not None:
        draws = [_PUBLIC.stream(i).generator().integers(0, schema.tokens.size, genes) for i in numbers]
        return np.array(draws, np.float32).reshape(count, genes), label
    width = -(-genes // 8)
    sides = b"".join([_PUBLIC.stream(i).read(width) for i in numbers])
    high = np.unpackbits(np.frombuffer(sides, np.uint8).reshape(count, width), axis=1, count=genes).astype(np.bool_)
    x = np.where(high, np.float32(schema.high), np.float32(schema.low))
    return x, label


def beside(shard: Shard, schema: Schema, first: int, planted: Array) -> Shard:
    """Return the shard with canaries after its donors.

    Args:
        shard: A site's donors.
        schema: Public facts.
        first: Number of the site's first canary.
        planted: Which are in, bool (canaries,).
    """
    count = len(planted)
    x, label = rows(schema, first, count)
    numbers = np.arange(first, first + count)
    taken = set(shard.donors)
    names = [NAME.format(i) for i in numbers]
    while not taken.isdisjoint(names):
        names = [f"{name}'" for name in names]
    return replace(
        shard,
        x=np.concatenate([shard.x, x]),
        label=np.concatenate([shard.label, label]),
        donor=np.concatenate([shard.donor, shard.n_donors + np.arange(count)]),
        donors=(*shard.donors, *names),
        mask=np.concatenate([shard.mask, np.ones(count, np.bool_)]),
        held=np.concatenate([shard.held, ~planted]),
        canary=np.concatenate([shard.canary, numbers]),
    )
