"""Dosages by allele frequency of each label and by what neighbouring variants share: whole people, in whole numbers.

Two questions. The first asks for label counts and each label's sums of dosages; the second for products of neighbours
within public blocks of the list, of dosages less what the label's frequency expects. A person is then two haplotypes
drawn apart, in Hardy–Weinberg proportions within a label; an allele is drawn given one before it in its block, the one
whose noisy correlation is largest. Blocks share a variant with the next: the chain breaks where a contig ends, nowhere
else. A normal value behind each allele, with the whole covariance of a block, kept less of neighbours' correlation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from pydantic import Field

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods import alleles
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.bundle import Bundle, Floats, Part, Rows, matrix
from fedgenome.methods.bundled import Bundled, shares_of
from fedgenome.methods.frequencies import live_rows, parts_of, rows_of
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.query import Array, Question, State
from fedgenome.strict import Strict

_LEAST = 1e-4  # frequency that an allele is taken to have, at least, where a row's probability is told
_CELLS = 1 << 26  # alleles drawn at a time
_SHORTEST = 3.0  # by how much a block is taken to be shortened, at most


class Options(Strict):
    """Options of ``genotypes``. Shares are relative; what is not asked for has none."""

    block: int = Field(default=4, ge=0, le=100, description="steps from a block's first variant to its last; 0: none")
    labels: float = Field(default=0.02, gt=0, description="budget share of label counts")
    dosages: float = Field(default=0.58, gt=0, description="budget share of labels' sums of dosages")
    pairs: float = Field(default=0.40, gt=0, description="budget share of products within blocks")
    clip: float = Field(default=1.0, gt=0, le=8, description="L2 bound of a block's products, over half its variants")


@dataclass(frozen=True, kw_only=True)
class Genotypes(Bundled[Options]):
    """Haplotypes of a label have its frequencies, and correlations that all labels have in common.

    State: ``step``, ``counts`` (labels,) noisy, ``frequencies`` (labels, variants) within 0 and 1, ``before``
    (variants,), which earlier variant each is drawn given, −1 for none, and ``ties`` (variants,), their correlation.
    """

    # ---- Public numbers

    @functools.cached_property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """Each block's first variant, and the one after its last: runs of one contig, cut."""
        found, first = [], 0
        for _, run in groupby(gene.partition(":")[0] if ":" in gene else "" for gene in self.schema.genes):
            last = first + len(list(run)) - 1
            if self.options.block:
                starts = range(first, last, self.options.block)
                found += [(at, min(at + self.options.block, last) + 1) for at in starts]
            first = last + 1
        return tuple(found)

    @functools.cached_property
    def bundles(self) -> tuple[Bundle, ...]:
        """Both questions' statistics."""
        asked = ["labels", "dosages"] + ["pairs"] * bool(self.blocks)
        shares = {name: getattr(self.options, name) for name in asked}
        shares = {name: share / math.fsum(shares.values()) for name, share in shares.items()}
        first = parts_of(self.schema, shares["labels"], shares["dosages"])
        parts = []
        for start, stop in self.blocks:
            k, share = stop - start, shares["pairs"] / len(self.blocks)
            parts.append(Part(name=str(start), length=k * (k + 1) // 2, bound=self.options.clip * k / 2, share=share))
        return (Bundle(statistics=first), *([Bundle(statistics=tuple(parts))] if parts else []))

    # ---- The method

    def untold(self, rng: np.random.Generator) -> State:
        """Return frequencies of a half, and variants that are not related."""
        labels, variants = len(self.schema.labels), len(self.schema.genes)
        return {
            "counts": np.zeros(labels),
            "frequencies": np.full((labels, variants), 0.5),
            "before": np.full(variants, -1, np.int64),
            "ties": np.zeros(variants),
        }

    def shown(self, state: State, step: int) -> dict[str, Array]:
        """Return frequencies, once they are known: pairs are counted apart from them."""
        return {"frequencies": state["frequencies"]} if step else {}

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the sums over donors of the mean of their rows' statistics.

        A row with NaN, or of a label that the schema does not have, is no row.
        """
        labels, variants = len(self.schema.labels), len(self.schema.genes)
        shapes = {name: array.shape for name, array in question.payload.items()}
        known = not shapes or (shapes == {"frequencies": (labels, variants)} and len(self.bundles) > 1)
        require(known, f"no payload, or frequencies of {labels} labels and {variants} variants", **shapes)
        live = live_rows(self.schema, sample)

        def make(at: Array) -> Mapping[str, Rows]:
            x, label = sample.x[live[at]], sample.label[live[at]]
            if not shapes:
                return rows_of(self.schema, x, label)
            with np.errstate(all="ignore"):  # a crafted payload may overflow: no row
                apart = np.clip(x.astype(np.float64), 0, 2) - 2 * question.payload["frequencies"][label]
            return {str(start): (apart[:, start:stop], None) for start, stop in self.blocks}

        return self.bundles[int(bool(shapes))].answer(make, sample.donor[live])

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after one more bundle."""
        step = int(state["step"])
        parts = self.bundles[step].parts(total)
        return {**state, "step": np.array(step + 1, np.int64)} | (
            self._related(state, parts) if step else self._frequencies(parts)
        )

    def _frequencies(self, parts: Mapping[str, Floats]) -> State:
        """Return noisy counts, and frequencies: a label's differences from all, as far as they outweigh noise."""
        counts = np.maximum(parts["labels"], 0.0)
        sizes = np.maximum(counts, 1.0)
        sums = parts["dosages"].reshape(len(counts), -1)
        pooled = sums.sum(0) / max(1.0, float(counts.sum()))
        apart = sums / sizes[:, None] - pooled
        noise = self.bundles[0].deviation("dosages", self.level) / sizes
        kept = np.maximum(1 - noise**2 / np.maximum((apart**2).mean(1), 1e-12), 0) * (counts >= 1)
        return {"counts": counts, "frequencies": np.clip((1 + pooled + kept[:, None] * apart) / 2, 0, 1)}

    def _related(self, state: State, parts: Mapping[str, Floats]) -> State:
        """Return of each variant which one before it tells most about it, and how closely."""
        donors, weights, p = max(1.0, float(state["counts"].sum())), shares_of(state["counts"]), state["frequencies"]
        spread = np.sqrt(alleles.variances(p))
        before, ties = state["before"].copy(), state["ties"].copy()
        for start, stop in self.blocks:
            noise = self.bundles[1].deviation(str(start), self.level) / math.sqrt(2) / donors
            told = matrix(parts[str(start)], stop - start) / donors
            kept = np.maximum(1 - (noise / np.maximum(np.abs(told), 1e-12)) ** 2, 0)
            own = spread[:, start:stop]
            # A person's dosages covary by twice what a haplotype's alleles do.
            alike = 2 * np.einsum("l,li,lj->ij", weights, own, own)
            found = told * kept * _unclipped(told, alike) / np.maximum(alike, _LEAST)
            found = np.clip(np.tril(found, -1), -1, 1)
            best = np.abs(found).argmax(1)[1:]
            at = np.arange(1, stop - start)
            before[start + at], ties[start + at] = start + best, found[at, best]
        return {"before": before, "ties": ties}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``label_weights``, ``frequencies``, ``before`` and ``ties``."""
        self.require_finished(state)
        told = {name: state[name].astype(np.float32) for name in ("frequencies", "ties")}
        return {"label_weights": shares_of(state["counts"]), "before": state["before"]} | told

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the share of each label, float64 (labels,)."""
        return np.asarray(arrays["label_weights"], np.float64)

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one person for each label code, float32 (n, variants), of 0, 1 and 2."""
        frequencies, ties = (np.asarray(arrays[name], np.float64) for name in ("frequencies", "ties"))
        step = max(1, _CELLS // frequencies.shape[1])
        people = [labels[first : first + step] for first in range(0, max(1, len(labels)), step)]
        return np.concatenate([alleles.draw(frequencies, arrays["before"], ties, some, rng) for some in people])

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's −log probability, variant by variant given the one before, float64 (rows,)."""
        p = np.clip(np.asarray(arrays["frequencies"], np.float64), _LEAST, 1 - _LEAST)
        before = np.maximum(arrays["before"], 0)
        q = p[:, before]
        table = alleles.pair_table(q, p, alleles.both(q, p, np.where(arrays["before"] < 0, 0.0, arrays["ties"])))
        table = np.maximum(table, _LEAST**2)
        table /= table.sum(-1, keepdims=True)
        g = np.clip(np.rint(x), 0, 2).astype(np.int64)
        return np.asarray(-np.log(table[label[:, None], np.arange(g.shape[1]), g[:, before], g]).sum(1))


def _unclipped(products: Floats, expected: Floats) -> float:
    """Return by how much clipping shortened a block: its variants' variances as expected, over those that it shows."""
    return min(max(float(np.trace(expected) / max(np.trace(products), 1e-12)), 1.0), _SHORTEST)
