"""Genomes of people who never lived, from the coalescent: a reference, a phased VCF, and every haplotype's own letters.

Simulated by msprime under one panmictic population with human-like rates, so that people share haplotypes and rare
variants as real ones do, and nobody's data are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msprime
import numpy as np

CONTIG = "sim"
POPULATION = 10_000  # diploid people, effective
RECOMBINATION, MUTATION = 1e-8, 1.5e-8  # per letter and generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Genomes:
    """What was written.

    Attributes:
        reference: FASTA file of the one contig, ``CONTIG``.
        variants: Phased VCF of people person-0, person-1, …
        haplotypes: The letters of every haplotype, two a person, in the VCF's order.
    """

    reference: Path
    variants: Path
    haplotypes: tuple[str, ...]


def write_genomes(folder: Path, people: int, length_bp: int, seed: int, *, mutation: float = MUTATION) -> Genomes:
    """Simulate diploid people and write reference and VCF into a folder; the same seed gives the same files.

    Args:
        folder: Exists.
        people: Number of people.
        length_bp: Letters of the contig.
        seed: Of ancestry, mutations and reference, at least 1.
        mutation: Mutations per letter and generation.

    Source: Kelleher et al. 2016 (msprime), hudson coalescent with recombination; Jukes and Cantor mutations.
    """
    ancestry = msprime.sim_ancestry(
        people,
        population_size=POPULATION,
        sequence_length=length_bp,
        recombination_rate=RECOMBINATION,
        random_seed=seed,
    )
    mutated = msprime.sim_mutations(ancestry, rate=mutation, random_seed=seed)
    letters = np.random.default_rng(seed).choice(list("ACGT"), length_bp)
    for site in mutated.sites():
        letters[int(site.position)] = site.ancestral_state
    reference = "".join(letters)
    written = Genomes(
        reference=folder / "reference.fa",
        variants=folder / "people.vcf",
        haplotypes=tuple(mutated.alignments(reference_sequence=reference)),
    )
    written.reference.write_text(f">{CONTIG}\n{reference}\n")
    names = [f"person-{i}" for i in range(people)]
    with written.variants.open("w") as file:
        mutated.write_vcf(
            file, contig_id=CONTIG, individual_names=names, position_transform=lambda at: np.asarray(at) + 1
        )
    return written
