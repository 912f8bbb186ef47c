"""Files of windows: what anndata reads back, which rows are kept, and how a cohort is read from one."""

import tracemalloc

import anndata
import numpy as np
import pytest

from fedgenome.cohort.expression import CohortSpec, align, capped, open_source, read, schema_of
from fedgenome.cohort.h5ad import write_h5ad
from fedgenome.cohort.sequence_file import write_sequences
from fedgenome.cohort.split import SplitSpec, split
from fedgenome.cohort.tokens import Tokens
from fedgenome.cohort.windows import Record, WindowSpec
from fedgenome.errors import SpecError

TEXTS = {"a1": "ACGTACGTAC", "a2": "TTTTNNNNCC", "b1": "GGGGCCCCAA", "c1": "AC"}


def records():
    for name, text in TEXTS.items():
        label = "x" if name < "b" else "y"
        yield Record(name=name, donor=name[0], text=text, label=label, kept=(f"ward-{name[1]}",), source="x.fa")


@pytest.fixture
def written(tmp_path):
    """Return a function that writes the records and returns the path and what was told."""

    def write(made=records, **options):
        spec = options.pop("spec", WindowSpec(length=4, most_unknown=0.5))
        path = tmp_path / "c.h5ad"
        return str(path), write_sequences(path, made, spec, kept=("ward",), provenance={"source": "x.fa"}, **options)

    return write


def spec_of(path, **changes):
    told = {"source": path, "label": "label", "labels": ("x", "y"), "donor": "donor", "scale": "codes", "public": True}
    return CohortSpec(**(told | changes))


def test_anndata_reads_back_what_the_records_hold(written):
    path, told = written()
    data, tokens = anndata.read_h5ad(path), Tokens()
    assert list(data.obs_names) == [
        f"{name}:{at:09d}+" for name, at in [("a1", 0), ("a1", 4), ("a2", 0), ("b1", 0), ("b1", 4)]
    ]
    assert [tokens.decode(row) for row in data.X] == ["ACGT", "ACGT", "TTTT", "GGGG", "CCCC"]
    assert {name: data.obs[name].tolist() for name in data.obs.columns} == {
        **{"donor": list("aaabb"), "label": list("xxxyy"), "start": [0, 4, 0, 0, 4], "strand": ["+"] * 5},
        "ward": ["ward-1", "ward-1", "ward-2", "ward-1", "ward-1"],
    }
    assert (told.rows, told.donors, told.left_out, told.without) == (5, 2, 1, 1)


def test_file_says_its_tokens_and_where_they_came_from(written):
    data = anndata.read_h5ad(written(spec=WindowSpec(length=2, tokens=Tokens(k=2), both_strands=True))[0])
    assert dict(data.uns["tokens"]) == {"letters": "ACGT", "k": 2} and data.uns["provenance"]["source"] == "x.fa"
    assert (list(data.var_names), data.X.dtype) == (["p0001", "p0002"], np.uint8)
    assert data.obs["strand"].tolist()[:4] == ["+", "-", "+", "-"]


def test_rows_of_a_donor_are_capped_as_a_reader_caps_them(written):
    every = open_source(written()[0], "X")
    kept = capped(every.columns["donor"], every.rows, 2)
    some = open_source(written(rows_per_donor=2)[0], "X")
    assert some.rows == tuple(every.rows[i] for i in kept) and np.array_equal(some.x, every.x[kept])


def test_no_window_at_all_is_refused_and_leaves_no_file(written, tmp_path):
    with pytest.raises(
        SpecError, match="expected a sequence of 99 tokens or more with few unknown ones, got no window"
    ):
        written(spec=WindowSpec(length=99))
    assert list(tmp_path.iterdir()) == []


def test_column_to_keep_must_have_a_name_of_its_own(tmp_path):
    with pytest.raises(SpecError, match="columns to keep of other names than donor, label, start, strand, got 'start'"):
        write_sequences(tmp_path / "c.h5ad", records, WindowSpec(length=4), kept=("start",))


def test_rows_are_not_held_while_they_are_written(tmp_path):
    def many():  # 10 MB of codes, were they held
        for i in range(200):
            yield Record(name=f"s{i}", donor=f"s{i}", text="ACGT" * 12_500)

    tracemalloc.start()
    write_sequences(tmp_path / "c.h5ad", many, WindowSpec(length=1000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 7e6


# ---- Read as a cohort


def test_cohort_of_codes_is_dealt_out_by_donor(written):
    spec = spec_of(written()[0], site="ward")
    cohort = read(spec)
    assert (cohort.unit, cohort.x.dtype, cohort.x.max(), cohort.clipped) == ("donor", np.float32, 3, 0)
    dealt = split(
        align(cohort, schema_of(cohort, spec)), SplitSpec(by="even", sites=2, controls=0), np.random.default_rng(0)
    )
    assert sorted(shard.donors for shard in dealt.sites.values()) == [("a",), ("b",)]
    assert dealt.genes == ("p0001", "p0002", "p0003", "p0004")


def test_schema_has_tokens_and_their_range(written):
    path, _ = written(spec=WindowSpec(length=2, tokens=Tokens(k=2)))
    spec = spec_of(path, tokens={"letters": "ACGT", "k": 2})
    schema = schema_of(read(spec), spec)
    assert (schema.tokens.size, schema.low, schema.high) == (16, 0, 16)
    assert type(schema).model_validate(schema.model_dump()) == schema


def test_unknown_tokens_are_read_as_such(written):
    cohort = read(spec_of(written(spec=WindowSpec(length=5, most_unknown=0.5))[0]))
    assert cohort.x.max() == 4 == Tokens().unknown


def test_written_again_a_file_keeps_its_tokens(written, tmp_path):
    table = open_source(written()[0], "X")
    write_h5ad(table, tmp_path / "again.h5ad")
    assert open_source(str(tmp_path / "again.h5ad"), "X").tokens == table.tokens is not None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"scale": "log", "high": 9}, "expected scale = 'codes', as the file holds codes of tokens, got 'log'"),
        ({"tokens": {"k": 2}}, "expected tokens of letters='ACGT' k=1, which the file holds, got letters='ACGT' k=2"),
    ],
)
def test_codes_read_as_something_else_are_refused(written, changes, text):
    with pytest.raises(SpecError, match=text):
        read(spec_of(written()[0], **changes))


@pytest.mark.parametrize("value", [5, 0.5, -1, np.nan])
def test_number_that_is_no_code_is_refused_with_its_row(write, spec, value):
    x = np.zeros((6, 4), np.float32)
    x[2, 1] = value
    path = write(x, genes=("p0001", "p0002", "p0003", "p0004"))
    text = rf"row 'cell-2', gene 'p0002': expected codes 0, 1 … 4 of tokens, as scale = 'codes', got {value:g}"
    with pytest.raises(SpecError, match=text):
        read(spec(path, scale="codes", high=4))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"high": 5}, "expected low = 0 and high = 4, the codes of tokens, got 0 and 5"),
        ({"fill": 4.0}, "expected neither fill nor batch with tokens"),
        ({"batch": "ranks"}, "expected neither fill nor batch with tokens"),
        ({"scale": "log", "high": 4, "tokens": {}}, "expected tokens only with scale = 'codes', got scale = 'log'"),
        ({"genes": {"random": 2, "seed": 1}}, "expected no genes with scale = 'codes'"),
        ({"tokens": {"letters": "ACGA"}}, "expected two or more letters A-Z, each once"),
    ],
)
def test_spec_of_codes_has_nothing_of_expression(changes, text):
    with pytest.raises(ValueError, match=text):
        spec_of("x.h5ad", **changes)
