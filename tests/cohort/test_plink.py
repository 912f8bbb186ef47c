"""PLINK's genotypes: the bits of its own description, and every file that does not fit."""

from collections import Counter

import pytest

from fedgenome.cohort.genotypes import GenotypeSpec, blocks
from fedgenome.cohort.plink import open_plink
from fedgenome.errors import SpecError

BITS = bytes([0x6C, 0x1B, 0x01, 0b11_10_01_00, 0b00, 0b00_00_00_11, 0b01])  # five people, two variants


@pytest.fixture
def trio(tmp_path):
    """Return the path of a .bed with its .bim and .fam."""
    (tmp_path / "p.bed").write_bytes(BITS)
    (tmp_path / "p.bim").write_text("1 rs1 0 5 G A\n23 . 0 9 T C\n")
    (tmp_path / "p.fam").write_text("".join(f"f s{i} 0 0 1 -9\n" for i in range(5)))
    return tmp_path / "p.bed"


def read(path):
    found = {}
    for block in blocks(open_plink(str(path)), GenotypeSpec(), Counter()):
        found |= dict(zip([one.name for one in block.variants], block.dosage.tolist(), strict=True))
    return found


def test_two_bits_are_copies_of_the_first_allele(trio):
    assert read(trio) == {"1:5:A:G": [2, -1, 1, 0, 2], "X:9:C:T": [0, 2, 2, 2, -1]}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("p.bed", BITS[:-1], "expected 2 variants of 5 people .7 bytes., got 6 bytes"),
        ("p.bed", b"chr1\t5\t9\n", "expected a .bed file of PLINK, variant by variant, got another"),
        ("p.fam", b"f s 0 0 1\n", "p.fam: line 1: expected six cells, got 5"),
        ("p.fam", b"f s 0 0 1 -9\nf s 0 0 1 -9\n", "expected every person of the .fam file once, got 's' again"),
        ("p.bim", b"1 rs1 0 x G A\n", "p.bim: line 1: expected six cells, a whole position the fourth"),
    ],
)
def test_files_that_do_not_fit_are_refused(trio, name, content, text):
    (trio.parent / name).write_bytes(content)
    with pytest.raises(SpecError, match=text):
        read(trio)


def test_absent_neighbour_is_named(trio):
    (trio.parent / "p.bim").unlink()
    with pytest.raises(SpecError, match=r"p\.bim: expected a table of PLINK, got No such file"):
        read(trio)
