"""An experiment file is read strictly: one line names field, value and rule."""

from pathlib import Path

import pytest

from fedgenome import experiment
from fedgenome.errors import SpecError

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.toml"


def written(tmp_path, *changes):
    text = QUICKSTART.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    return path


def test_the_quickstart_is_valid_and_unseeded():
    spec = experiment.load(QUICKSTART)
    assert spec.seed is None and spec.privacy.epsilon == 10 and [m.label for m in spec.methods] == ["marginals", "cvae"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epsilon = 10.0", "epsilom = 10.0"), r"privacy\.epsilom: unknown key; did you mean 'epsilon'\?"),
        (("sites = 5", "site = 5"), r"split\.site: unknown key; did you mean 'sites'\?"),
        (("[release]", "[relase]"), r"relase: unknown key; did you mean 'release'\?"),
        (("epsilon = 10.0", "epsilon = -1.0"), r"privacy\.epsilon: Input should be greater than 0, got -1\.0"),
        (("epsilon = 10.0", 'epsilon = "ten"'), r"privacy\.epsilon: .*valid number.*got 'ten'"),
        (("delta = 1e-4", "delta = 1e-2"), r"privacy\.delta: expected at most 1 / \(10 · donors_bound\) = 0\.000143"),
        (('generator = "marginals"', 'generator = "cave"'), r"release\.generator: expected one of .*'cave'"),
        (('trust = "distributed"', 'trust = "none"'), r"privacy: expected epsilon and delta with trust 'distributed'"),
        (("donors_bound = 700", ""), r"caps\.donors_bound: Field required"),
        (("name = ", "name == "), r"experiment\.toml: expected TOML"),
        (('kind = "cvae"', 'kind = "marginals"'), r"methods: expected a name of its own .*, got marginals, marginals"),
        (
            ("site_cap = 400", "site_kap = 400"),
            r"caps\.site_kap: unknown key; did you mean 'site_cap'\? \(and 1 more\)",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, change, message):
    path = written(tmp_path, change)
    with pytest.raises(SpecError, match=message) as fault:
        experiment.load(path)
    assert str(path) in str(fault.value) and "\n" not in str(fault.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SpecError, match="expected an experiment file, No such file"):
        experiment.load(tmp_path / "none.toml")


COHORT = """[cohort]
source = "people.h5ad"
label = "label"
labels = ["all"]
donor = "donor"
scale = "codes"
"""
SCHEMA = """[schema]
genes = 3
labels = ["all"]
unit = "donor"
tokens = { k = 2 }
"""
REST = """
name = "sequences"
caps = { site_cap = 10, donors_bound = 20 }
privacy = { trust = "none" }
methods = [{ kind = "language" }]
"""


def test_codes_of_sequences_have_the_range_of_their_tokens(tmp_path):
    (tmp_path / "experiment.toml").write_text(REST + COHORT)
    cohort = experiment.load(tmp_path / "experiment.toml").cohort
    assert (cohort.tokens.letters, cohort.tokens.k, cohort.low, cohort.high) == ("ACGT", 1, 0, 4)


def test_schema_of_sequences_names_a_number_of_positions(tmp_path):
    (tmp_path / "experiment.toml").write_text(REST + SCHEMA)
    schema = experiment.load(tmp_path / "experiment.toml").schema_
    assert schema.genes == ("p0001", "p0002", "p0003") and (schema.low, schema.high) == (0, 16)
    assert schema.panel == "every position of a window"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (COHORT + "tokens = { k = 9 }", r"cohort\.tokens: expected len\(letters\)\*\*k < 65536, got 262144 with k=9"),
        (COHORT + "high = 9.0", r"cohort: expected low = 0 and high = 4, the codes of tokens, got 0 and 9"),
        (SCHEMA.replace("tokens = { k = 2 }", "high = 4.0"), r"schema\.genes: Input should be a valid tuple, got 3"),
        (SCHEMA + "fill = 1.0", r"schema: expected neither fill nor batch with tokens"),
    ],
)
def test_wrong_tokens_are_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "experiment.toml").write_text(REST + text)
    with pytest.raises(SpecError, match=message):
        experiment.load(tmp_path / "experiment.toml")
