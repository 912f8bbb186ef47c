"""Public gene panels: the packaged one, and files of one's own."""

from importlib import resources

import pytest

from fedgenome.cohort.datasets import pbmc68k
from fedgenome.cohort.panel import panel, panels
from fedgenome.errors import SpecError


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
