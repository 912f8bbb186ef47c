"""Tables of text: numbers are genes, everything else and what is asked for are obs columns."""

import gzip

import pytest

from fedgenome.cohort.text import open_text
from fedgenome.errors import SpecError


def test_numbers_are_genes_and_a_nameless_first_column_names_the_rows(tmp_path):
    path = tmp_path / "made.csv"
    path.write_text(",CD3E,label,NKG7,batch\na,1.5,3,NA,x\nb,0,4,2,y\n")
    table = open_text(str(path), ["label"])
    assert (table.genes, table.rows) == (("CD3E", "NKG7"), ("a", "b"))
    assert table.x[:, 0].tolist() == [1.5, 0] and table.x[1, 1] == 2
    assert table.columns == {"label": ["3", "4"], "batch": ["x", "y"]}


def test_tabs_gzip_and_rs_row_names_are_read(tmp_path):
    path = tmp_path / "made.tsv.gz"
    path.write_bytes(gzip.compress(b"CD3E\ttype\na\t1\tB\nb\t2\tT\n"))
    table = open_text(str(path), ["type"])
    assert (table.genes, table.rows, table.columns["type"]) == (("CD3E",), ("a", "b"), ["B", "T"])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "made.csv: expected a table of text, got No such file"),
        ("", "made.csv: expected a table of text, got No columns"),
        ("G1,G1\n1,2\n", "every name of the first line once, got 'G1' again"),
        ("type\nB\n", "a line of names and rows of numbers"),
        ("G1,type\n1,B\n2,T,3,4\n", "expected a table of text, got Error tokenizing"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, rule):
    if text is not None:
        (tmp_path / "made.csv").write_text(text)
    with pytest.raises(SpecError, match=rule):
        open_text(str(tmp_path / "made.csv"), ["type"])
