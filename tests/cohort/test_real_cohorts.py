"""Real public cohorts, where they are present: each reads with a sensible spec, or is refused for its known fault."""

import gzip
import itertools
import os
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fedgenome.cohort.calls import open_vcf
from fedgenome.cohort.expression import CohortSpec, align, read, schema_of
from fedgenome.cohort.genotype_file import people, write_genotypes
from fedgenome.cohort.genotypes import GenotypeSpec, blocks
from fedgenome.cohort.samples import Samples, read_samples
from fedgenome.cohort.sequence_file import write_sequences
from fedgenome.cohort.sequences import fasta_records
from fedgenome.cohort.split import SplitSpec, split
from fedgenome.cohort.windows import Region, WindowSpec
from fedgenome.errors import SpecError
from tests.cohort.made_vcf import naive

PAM50 = ("LumA", "LumB", "Basal", "Her2", "Normal")


@pytest.fixture
def real(repository):
    """Return a function that reads a real cohort, or skips where it is absent."""
    folder = Path(os.environ.get("FEDGENOME_DATA", repository / "../shared/data")) / "expression"

    def read_real(name, **spec):
        if not (folder / name).exists():
            pytest.skip(
                f"real cohort {name} is not in {folder}; set FEDGENOME_DATA to the folder that holds expression/"
            )
        asked = CohortSpec(**{"source": str(folder / name), "scale": "log", **spec})
        cohort = read(asked)
        return align(cohort, schema_of(cohort, asked))

    return read_real


@pytest.fixture(scope="module")
def mtdna(tmp_path_factory, repository):
    """Return a file of windows of 2,534 people's mitochondrial control region, or skip where it is absent."""
    folder = Path(os.environ.get("FEDGENOME_DATA", repository / "../shared/data")) / "sequences"
    source, meta = folder / "mtdna_1000g_2534.fasta.gz", folder / "mtdna_1000g_2534_meta.csv.gz"
    if not source.exists():
        pytest.skip(f"real sequences {source.name} are not in {folder}; set FEDGENOME_DATA to the folder of sequences/")
    out = tmp_path_factory.mktemp("mtdna") / "cohort.h5ad"
    who = read_samples(str(meta), donor="sample", label="superpopulation", keep=("population",))
    records = partial(fasta_records, str(source), who, [Region(16_024, 16_383)], aligned=True)
    return str(out), write_sequences(out, records, WindowSpec(length=48), kept=who.kept)


TCGA = {"name": "tcga_brca_rnaseq_1218x909.h5ad", "label": "pam50", "labels": PAM50, "donor": "patient", "site": "tss"}


def test_tcga_brca_reads_by_patient_without_its_unlabelled_rows(real):
    cohort = real(**TCGA, high=20, drop_unlabelled=True)
    assert cohort.x.shape == (1092, 909)
    assert np.bincount(cohort.label).tolist() == [566, 211, 193, 82, 40]
    assert (len(set(cohort.owners)), len(set(cohort.site)), cohort.unit) == (1085, 40, "donor")


def test_tcga_brca_says_how_many_rows_are_unlabelled(real):
    with pytest.raises(SpecError, match=r"obs\['pam50'\]: expected a label for every row, 126 of 1218 have none"):
        real(**TCGA, high=20)


def test_tcga_brca_splits_by_its_real_hospitals(real):
    dealt = split(real(**TCGA, high=20, drop_unlabelled=True), SplitSpec(by="column"), np.random.default_rng(1))
    assert len(dealt.sites) == 40
    assert min(shard.n_donors for shard in dealt.sites.values()) >= 1
    assert dealt.controls.n_donors == 217


def test_perez_counts_read_with_donors_as_the_unit(real):
    spec = {"label": "cg_cov", "labels": ("T4", "T8"), "donor": "ind_cov", "panel": "blood_markers"}
    cohort = real("perez2022_healthy_tcells_15751x3000.h5ad", scale="counts", high=9, **spec)
    assert len(cohort.rows) == 15_751
    assert len(set(cohort.owners)) == 7
    assert len(cohort.genes) >= 30
    assert (cohort.x.min(), cohort.clipped) == (0, 0)


def test_perez_counts_declared_log_are_mostly_beyond_a_log_range(real):
    spec = {"label": "cg_cov", "labels": ("T4", "T8"), "panel": ("LYZ", "GNLY")}
    cohort = real("perez2022_healthy_tcells_15751x3000.h5ad", high=2, **spec)
    assert cohort.clipped > 0.01


def test_three_breast_sites_are_refused_for_nan_and_read_without_those_genes(real):
    spec = {"name": "breast_3sites_genefu_653.h5ad", "label": "er", "labels": ("0", "1"), "site": "site"}
    spec |= {"low": -20, "high": 20, "drop_unlabelled": True}
    with pytest.raises(
        SpecError, match=r"row 'NKI_\S+', gene '\S+': expected finite values .* got nan \(in all \d+ such"
    ):
        real(**spec)
    cohort = real(**spec, panel=("ESR1", "ERBB2", "TOB1"))
    assert set(cohort.site) == {"EXPO", "VDX", "NKI"}


def test_metabric_reads_once_its_class_nc_is_declared(real):
    spec = {"label": "pam50", "site": "cohort", "low": -5, "high": 5}
    with pytest.raises(SpecError, match=r"got 'NC' \(6 rows; labels = 'LumA'"):
        real("metabric_1904x79.h5ad", labels=(*PAM50, "claudin-low"), **spec)
    cohort = real("metabric_1904x79.h5ad", labels=(*PAM50, "claudin-low", "NC"), **spec)
    assert cohort.x.shape == (1904, 79)
    assert cohort.unit_text == "row, not a person"


def test_camda_sample_reads(real):
    cohort = real("camda_tcga_brca_sample_100x978.h5ad", label="pam50", labels=PAM50, high=20)
    assert (cohort.x.shape, cohort.clipped < 1e-3) == ((100, 978), True)


def test_autism_reads_with_its_batches_as_sites(real):
    spec = {"label": "label", "labels": ("autism", "control"), "site": "batch", "high": 16}
    dealt = split(real("autism_blood_bapred_250x1000.h5ad", **spec), SplitSpec(by="column"), np.random.default_rng(1))
    assert tuple(dealt.sites) == ("b1", "b2", "b3", "b4")
    assert dealt.controls.n_donors == 50


CONTINENTS = ("AFR", "AMR", "EAS", "EUR", "SAS", "EUR,AFR")


def coded(path, **more):
    told = {"label": "label", "labels": CONTINENTS, "donor": "donor", "scale": "codes", "site": "population"}
    spec = CohortSpec(source=path, **(told | more))
    cohort = read(spec)
    return align(cohort, schema_of(cohort, spec))


def test_mtdna_is_cut_into_seven_windows_a_person(mtdna):
    path, told = mtdna
    assert (told.rows, told.donors, told.left_out, told.without) == (7 * 2534, 2534, 0, 0)
    cohort = coded(path)
    assert (len(set(cohort.owners)), cohort.x.shape, cohort.unit) == (2534, (7 * 2534, 48), "donor")
    assert np.bincount(cohort.label[::7]).tolist() == [668, 352, 515, 504, 494, 1]


def test_mtdna_is_dealt_out_by_population_whole_people_at_a_time(mtdna):
    dealt = split(coded(mtdna[0], rows_per_donor=3), SplitSpec(by="column"), np.random.default_rng(1))
    assert len(dealt.sites) == 27  # one person's population is two
    assert all(np.bincount(shard.donor).tolist() == [3] * shard.n_donors for shard in dealt.sites.values())


@pytest.fixture(scope="module")
def head(tmp_path_factory, repository):
    """Return a function that gives the first lines of a real VCF as a file, or skips where it is absent."""
    folder = Path(os.environ.get("FEDGENOME_DATA", repository / "../shared/data")) / "genotypes"

    def first(name, lines):
        if not (folder / name).exists():
            pytest.skip(f"real genotypes {name} are not in {folder}; set FEDGENOME_DATA to the folder of genotypes/")
        out = tmp_path_factory.mktemp("genotypes") / "head.vcf"
        with gzip.open(folder / name, "rt") as file:
            out.write_text("".join(itertools.islice(file, lines)))
        return str(out)

    return first


def dosages(path, **asked):
    file, out = open_vcf(path), Path(path).with_suffix(".h5ad")
    write_genotypes(out, blocks(file, GenotypeSpec(**asked), Counter()), people(path, file.samples, Samples()))
    spec = {"source": str(out), "label": "label", "labels": ("all",), "donor": "donor", "scale": "dosage"}
    return read(CohortSpec(**spec, fill=0))


def test_people_of_both_panels_have_nearly_the_same_dosages_in_both(head):
    array, sequence = (dosages(head(f"{name}_panel.vcf.gz", 3_000)) for name in ("array", "sequence"))
    assert (len(array.rows), len(sequence.rows)) == (582, 683) and array.genes == sequence.genes
    at = {name: i for i, name in enumerate(sequence.rows)}
    both = [(i, at[name]) for i, name in enumerate(array.rows) if name in at]
    mine, theirs = array.x[[i for i, _ in both]], sequence.x[[j for _, j in both]]
    others = np.mean(mine == np.roll(theirs, 1, axis=0))
    assert len(both) == 361 and np.mean(mine == theirs) > 0.96 and others < 0.5


def test_haploid_people_counted_twice_are_as_the_doubled_ones(head):
    train, test = (dosages(head(f"chr15_10k_{name}.vcf.gz", 400), haploid="double") for name in ("train", "test"))
    assert train.genes == test.genes and set(np.unique(train.x)) == set(np.unique(test.x)) == {0, 2}
    assert np.corrcoef(train.x.mean(axis=0), test.x.mean(axis=0))[0, 1] > 0.98


@pytest.mark.parametrize("name", ["array_panel", "sequence_panel", "chr15_10k_train", "genomator_input-small"])
def test_real_dosages_are_those_of_a_naive_reading(head, name):
    path = head(f"{name}.vcf.gz", 120)
    read = {}
    for block in blocks(open_vcf(path), GenotypeSpec(), Counter()):
        read |= dict(zip([one.name for one in block.variants], block.dosage.tolist(), strict=True))
    assert len(read) > 50 and read == naive(path)
