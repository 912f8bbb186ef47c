"""Public gene panels: the packaged one, and files of one's own."""

from collections import Counter
from importlib import resources

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedgenome.cohort.datasets import pbmc68k
from fedgenome.cohort.expression import read, schema_of
from fedgenome.cohort.panel import GeneChoice, panel, panels
from fedgenome.errors import SpecError

GENES = ("CD3D", "CD8A", "MS4A1", "LYZ")  # of the files that are written here


@pytest.fixture
def panel_file(tmp_path):
    def write(text):
        (tmp_path / "my.tsv").write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(tmp_path / "my.tsv")

    return write


def test_blood_markers_meet_the_packaged_cells_in_about_fifty_genes():
    assert 45 <= len(set(panel("blood_markers")) & set(pbmc68k().genes)) <= 55


def test_blood_markers_are_not_cut_to_one_dataset():
    assert len(set(panel("blood_markers")) - set(pbmc68k().genes)) >= 40


@pytest.mark.parametrize("name", panels())
def test_packaged_panel_states_source_and_licence(name):
    text = (resources.files("fedgenome.cohort") / "panels" / f"{name}.tsv").read_text("utf-8")
    header = "".join(line for line in text.splitlines() if line.startswith("#"))
    assert "Source:" in header
    assert "SPDX-License-Identifier: Apache-2.0" in header


@pytest.mark.parametrize("name", panels())
def test_packaged_panel_says_what_each_gene_marks(name):
    text = (resources.files("fedgenome.cohort") / "panels" / f"{name}.tsv").read_text("utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    assert rows[0] == ["gene", "marks"]
    assert all(len(row) == 2 and all(cell == cell.strip() != "" for cell in row) for row in rows)


def test_own_panel_keeps_file_order_and_takes_the_first_column(panel_file):
    assert panel(panel_file("# mine\ngene\tnote\nCD8A\tx\n\nCD3D\r\n")) == ("CD8A", "CD3D")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CD8A\nCD3D\n# why\nCD8A\n", "line 4: expected every gene once, 'CD8A' is also on line 1"),
        ("CD8A\n\tnothing\n", "line 2: expected a gene in the first column, got none"),
        ("# only words\n", "expected at least one gene, got none"),
        (b"CD8A\n\xff\xfe\n", "expected a text file in UTF-8"),
    ],
)
def test_bad_panel_is_refused_with_its_line(panel_file, text, message):
    with pytest.raises(SpecError, match=message) as caught:
        panel(panel_file(text))
    assert "my.tsv" in str(caught.value)


@pytest.mark.parametrize("name", ["blood_marker", "", "no/such/file.tsv"])
def test_unknown_panel_names_those_there_are(name):
    with pytest.raises(SpecError, match=rf"panel '{name}': expected a file .* or one of blood_markers, got "):
        panel(name)


names = st.lists(st.text("ABCDEF12", min_size=1, max_size=4), min_size=2, max_size=20, unique=True)


@settings(max_examples=25)
@given(names, st.data())
def test_drawn_genes_are_of_the_list_in_its_order_whatever_that_is(genes, data):
    k, seed = data.draw(st.integers(1, len(genes))), data.draw(st.integers(0, 99))
    drawn = GeneChoice(random=k, seed=seed).of(genes)
    assert len(drawn) == k
    assert drawn == tuple(gene for gene in genes if gene in set(drawn))
    assert set(drawn) == set(GeneChoice(random=k, seed=seed).of(sorted(genes)))
    assert set(drawn) >= set(GeneChoice(random=max(1, k - 1), seed=seed).of(genes))


def test_every_gene_is_drawn_equally_often():
    """Seeds 0 to 399; a fair draw would fail one time in 500. Always the first ten is rejected by the same check."""
    genes = [f"G{i}" for i in range(40)]
    drawn = Counter(gene for seed in range(400) for gene in GeneChoice(random=10, seed=seed).of(genes))
    counts = np.array([drawn[gene] for gene in genes])
    first = np.repeat([400, 0], [10, 30])
    fair, twin = (stats.chi2(39).cdf(((c - 100) ** 2).sum() / 75 * 39 / 40) for c in (counts, first))
    assert 1e-3 < fair < 1 - 1e-3 and twin > 1 - 1e-6


def test_first_genes_are_those_of_the_list():
    assert GeneChoice(first=3).of(panel("blood_markers")) == panel("blood_markers")[:3]


@pytest.mark.parametrize("choice", [GeneChoice(first=3), GeneChoice(random=3, seed=0)])
def test_more_genes_than_there_are_is_refused(choice):
    with pytest.raises(SpecError, match=r"cohort\.genes: expected at most the 2 genes of the list, got 3"):
        choice.of(["A", "B"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "every gene of the file"),
        ({"panel": "blood_markers"}, "blood_markers"),
        ({"panel": ("LYZ", "CD3D")}, "a list of 2 genes"),
        ({"panel": "blood_markers", "genes": {"first": 90}}, "the first 90 of blood_markers"),
        ({"genes": {"random": 2, "seed": 5}}, "2 of every gene of the file, by seed 5"),
    ],
)
def test_study_says_how_its_genes_were_chosen(write, spec, changes, text):
    asked = spec(write(), **changes)
    schema = schema_of(read(asked), asked)
    assert schema.panel == text
    assert set(schema.genes) <= set(GENES)


def test_genes_are_drawn_without_looking_at_values(write, spec):
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    choice = {"genes": {"random": 2, "seed": 3}, "high": 99}
    assert read(spec(write(x), **choice)).genes == read(spec(write(24 - x, name="b.h5ad"), **choice)).genes


def test_path_of_a_panel_is_not_in_the_study(write, spec, panel_file):
    asked = spec(write(), panel=panel_file("LYZ\nCD3D\n"))
    assert schema_of(read(asked), asked).panel == "a list of 2 genes"
