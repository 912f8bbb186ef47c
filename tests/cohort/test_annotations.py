"""Effects out of INFO: the worst of an allele's transcripts, whatever tool wrote them and in whatever order."""

import math

import pytest

from fedgenome.cohort.annotations import Effect, effects, layouts

CSQ = '##INFO=<ID=CSQ,Number=.,Type=String,Description="VEP: Consequence|SYMBOL|Allele|SIFT|IMPACT|PolyPhen">'
ANN = (
    "##INFO=<ID=ANN,Number=.,Type=String,Description=\"Says: 'Allele | Annotation | Annotation_Impact | Gene_Name '\">"
)
NSFP = '##INFO=<ID=dbNSFP_SIFT_score,Number=.,Type=String,Description="SIFT">\n'
NSFP += '##INFO=<ID=dbNSFP_Polyphen2_HDIV_score,Number=.,Type=String,Description="PolyPhen">'
NONE = Effect()


def found(header, told, *alleles):
    return [
        tuple(None if value != value else value for value in (one.sift, one.polyphen, one.impact, one.gene))
        for one in effects(told, layouts(header), alleles)
    ]


@pytest.mark.parametrize(
    ("entries", "alleles", "expected"),
    [
        ("x|B|G|deleterious(0.01)|MODERATE|benign(0.1)", "AG", [(0.01, 0.1, "MODERATE", "B")]),
        ("x|B|G|tolerated(0.5)|LOW|,x|C|G|deleterious(1e-3)|HIGH|0.9", "AG", [(0.001, 0.9, "HIGH", "C")]),
        ("x|B|T||LOW|,x|C|G||HIGH|", "AGT", [(None, None, "HIGH", "C"), (None, None, "LOW", "B")]),
        ("x|B|-||LOW|,x|C|GT||HIGH|", ("AG", "A", "AGT"), [(None, None, "LOW", "B"), (None, None, "HIGH", "C")]),
        ("x|B|G|deleterious||", "AG", [(None, None, "", "")]),
    ],
)
def test_vep_is_read_by_the_fields_its_header_names(entries, alleles, expected):
    assert found(CSQ, {"CSQ": entries}, *alleles) == expected


def test_snpeff_has_impact_and_gene_and_no_scores():
    told = "G|missense|MODERATE|B|x,T|stop|HIGH|C|x"
    assert found(ANN, {"ANN": told}, "A", "G", "T") == [(None, None, "MODERATE", "B"), (None, None, "HIGH", "C")]


@pytest.mark.parametrize(
    ("sift", "alleles", "expected"),
    [(".,0.3,0.02", "AG", [0.02]), ("0.3,0.02", "AGT", [0.3, 0.02]), ("0.3", "AGT", [None, None])],
)
def test_dbnsfp_scores_go_to_the_allele_that_they_are_of(sift, alleles, expected):
    assert [one[0] for one in found(NSFP, {"dbNSFP_SIFT_score": sift}, *alleles)] == expected


def test_what_is_not_told_is_empty():
    assert math.isnan(NONE.sift) and found(CSQ, {}, "A", "G") == [(None, None, "", "")]
    assert layouts('##INFO=<ID=AC,Number=A,Type=Integer,Description="count">') == {}
