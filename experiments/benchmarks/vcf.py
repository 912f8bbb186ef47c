"""VCF to dosages: our reader against cyvcf2, bcftools and scikit-allel; and a million variants to a file.

Candidates take turns, each from the file to an int8 matrix of people × variants; what is compared is processor time, in
medians, and the matrices.

- ``fedgenome``: :mod:`fedgenome.cohort.genotypes`, with every column's name.
- ``cyvcf2 gt_types``: ``VCF(gts012=True)``, each line's ``gt_types`` copied; ``cyvcf2 array``: ``genotype.array()``,
  summed. The faster is the one that the target is about.
- ``bcftools``: ``bcftools query`` of GT, as pysam brings it; its text counted by NumPy.
- ``scikit-allel``: ``read_vcf`` and ``to_n_alt``, where it is installed.

``simulated``: phased text from a seed, 2,504 people × 20,000 variants. ``chr15``: 2,504 × 10,000, compressed, of the
1000 Genomes (``FEDGENOME_DATA``, left out where it is absent). ``streamed``: 500 people × 1,000,000 variants through
``fedgenome ingest``'s writer; what is measured is how far it grows the process.

Run: ``python -m experiments.benchmarks.vcf`` (``--quick``: 2,504 × 1,000 simulated variants alone).
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments import harness
from experiments.benchmarks._processes import growth
from experiments.harness import Result, Target
from fedgenome.cohort.calls import open_vcf
from fedgenome.cohort.genotype_file import people, write_genotypes
from fedgenome.cohort.genotypes import GenotypeSpec, blocks
from fedgenome.cohort.samples import Samples
from fedgenome.cohort.shard import Array

OURS, LOOPS = "fedgenome", ("cyvcf2 gt_types", "cyvcf2 array")
PEOPLE, VARIANTS, QUICK, ROUNDS = 2504, 20_000, 1_000, 3
STREAMED = (500, 1_000_000)
FASTER, MEMORY = 1.5, 2.0  # × the best loop; GiB
_DATA = Path(os.environ.get("FEDGENOME_DATA", Path(__file__).parents[3] / "shared/data")) / "genotypes"
_PART = 1_000  # simulated lines drawn at a time

Reader = Callable[[str], Array]


def write_vcf(path: Path, n: int, variants: int, seed: int) -> None:
    """Write a phased VCF of simulated people; rare alleles are as common as in people (density ∝ 1 / frequency)."""
    rng = np.random.default_rng(seed)
    names = "\t".join(f"person-{i}" for i in range(n))
    with path.open("wb") as file:
        file.write(b'##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n')
        file.write(f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{names}\n".encode())
        for start in range(0, variants, _PART):
            some = min(_PART, variants - start)
            frequency = np.exp(rng.uniform(np.log(1e-3), np.log(0.5), (some, 1, 1))).astype(np.float32)
            text = np.tile(np.frombuffer(b"0|0\t", np.uint8), (some, n, 1))
            text[..., ::2] += rng.random((some, n, 2), np.float32) < frequency
            text[:, -1, 3] = ord("\n")
            for i, line in enumerate(text, start=start):
                file.write(b"1\t%d\trs%d\tA\tG\t.\tPASS\t.\tGT\t%b" % (10 * i + 1, i, line.tobytes()))


def ours(path: str) -> Array:
    """Return the dosages as fedgenome reads them."""
    read = blocks(open_vcf(path), GenotypeSpec(), Counter())
    return np.concatenate([block.dosage for block in read]).T


def _gt_types(path: str) -> Array:
    import cyvcf2

    told = np.array([line.gt_types.astype(np.int8) for line in cyvcf2.VCF(path, gts012=True)])
    return np.where(told == 3, -1, told).T


def _array(path: str) -> Array:
    import cyvcf2

    lines = (line.genotype.array()[:, :2] for line in cyvcf2.VCF(path))
    found = [np.where((one < 0).any(axis=1), -1, (one == 1).sum(axis=1)).astype(np.int8) for one in lines]
    return np.array(found).T


def _bcftools(path: str) -> Array:
    import pysam
    from pysam import bcftools

    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/genotypes"
        bcftools.query("-f", "[%GT\\t]\\n", path, "-o", out, catch_stdout=False)
        text = np.fromfile(out, np.uint8)
    with pysam.VariantFile(path) as file:
        n = len(file.header.samples)
    cells = text.reshape(-1, 4 * n + 1)[:, :-1].reshape(-1, n, 4)
    known = (cells[..., 0] != ord(".")) & (cells[..., 2] != ord("."))
    copies = (cells[..., 0] == ord("1")).astype(np.int8) + (cells[..., 2] == ord("1")).astype(np.int8)
    return np.where(known, copies, np.int8(-1)).T


def _allel(path: str) -> Array:
    import allel

    found: Array = allel.GenotypeArray(allel.read_vcf(path, fields=["GT"])["calldata/GT"]).to_n_alt(fill=-1)
    return found.T


def readers() -> dict[str, Reader]:
    """Return the candidates that are installed."""
    every: dict[str, Reader] = {OURS: ours, LOOPS[0]: _gt_types, LOOPS[1]: _array, "bcftools": _bcftools}
    return every | ({"scikit-allel": _allel} if importlib.util.find_spec("allel") else {})


def compare(name: str, path: str, rounds: int, say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield a row for each candidate on one file."""
    seconds, clock, same = defaultdict(list), defaultdict(list), {}
    expected = ours(path)
    for turn in range(rounds):
        for reader, read in readers().items():
            began = time.process_time(), time.perf_counter()
            found = read(path)
            seconds[reader].append(time.process_time() - began[0])
            clock[reader].append(time.perf_counter() - began[1])
            same[reader] = found.shape == expected.shape and bool(np.array_equal(found, expected))
            say(f"{name}, turn {turn + 1}, {reader}: {seconds[reader][-1]:.2f} s of processor")
    for reader, used in seconds.items():
        yield {
            "file": name,
            "people": expected.shape[0],
            "variants": expected.shape[1],
            "reader": reader,
            "cpu_seconds": statistics.median(used),
            "seconds": statistics.median(clock[reader]),
            "same": same[reader],
        }


def _targets(rows: list[dict[str, Any]]) -> Iterator[Target]:
    for file in dict.fromkeys(row["file"] for row in rows):
        used = {row["reader"]: row["cpu_seconds"] for row in rows if row["file"] == file}
        ratio = min(used[loop] for loop in LOOPS) / used[OURS]
        yield Target(name=f"{file}: times the best cyvcf2 loop", value=ratio, target=FASTER, sense="at least")
        unlike = sum(not row["same"] for row in rows if row["file"] == file)
        yield Target(name=f"{file}: readers with other dosages", value=unlike, target=0, sense="at most")


def streamed(folder: Path, say: Callable[[str], None]) -> tuple[Mapping[str, Any], Target]:
    """Write a large file of genotypes from a large VCF; return its row and the target of memory."""
    source, out = folder / "large.vcf", folder / "large.h5ad"
    write_vcf(source, *STREAMED, seed=2)
    say(f"streamed: {source.stat().st_size / 1e9:.2f} GB of text")
    began = time.process_time(), time.perf_counter()

    def work() -> None:
        file = open_vcf(str(source))
        rows = people(str(source), file.samples, Samples())
        write_genotypes(out, blocks(file, GenotypeSpec(), Counter()), rows)

    gib = growth(work) / 2**30
    row = {
        "file": "streamed",
        "people": STREAMED[0],
        "variants": STREAMED[1],
        "reader": OURS,
        "cpu_seconds": time.process_time() - began[0],
        "seconds": time.perf_counter() - began[1],
        "memory_gib": gib,
        "written_mb": out.stat().st_size / 1e6,
    }
    return row, Target(name="streamed: memory, GiB", value=gib, target=MEMORY, sense="at most")


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Compare the readers, then stream the large file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated, real = folder / "simulated.vcf", _DATA / "chr15_10k_train.vcf.gz"
        write_vcf(simulated, PEOPLE, QUICK if quick else VARIANTS, seed=1)
        rows = list(compare("simulated", str(simulated), 1 if quick else ROUNDS, say))
        if not quick and real.exists():
            rows += compare("chr15", str(real), ROUNDS, say)
        elif not quick:
            say(f"chr15: left out, {real.name} is not there; set FEDGENOME_DATA to the folder that holds genotypes/")
        targets = list(_targets(rows))
        if not quick:
            row, target = streamed(folder, say)
            rows.append(dict(row))
            targets.append(target)
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, "VCF to dosages", measure)
