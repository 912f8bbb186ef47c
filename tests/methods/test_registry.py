"""Building a method: what is refused, in one line, and what is loaded."""

import subprocess
import sys

import pytest

from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.study import MethodSpec, Schema

SCHEMA = Schema(genes=("A", "B"), labels=("x", "y"), high=6.0)


DOSAGES = Schema(genes=("1:7:A:C", "1:9:G:T"), labels=("x", "y"), high=2.0, dosages=True)
CODED = Schema(genes=("p0001", "p0002"), labels=("x", "y"), tokens={})


def build(kind, name=None, **options):
    schema = CODED if kind in registry.SEQUENCES else DOSAGES if kind in registry.DOSAGES else SCHEMA
    return registry.build(MethodSpec(kind=kind, name=name, options=options), schema, 20, kind != "afml")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_method_is_named_by_its_label_and_takes_no_option_by_default(kind):
    assert build(kind).name == kind
    assert build(kind, name="mine").name == "mine"


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (
            "marginal",
            {},
            r"methods\.mine\.kind: expected one of marginals, cvae, .*, gaussian, inverted, tree, .*, got 'marginal'",
        ),
        ("cvae", {"roundz": 3}, r"methods\.mine\.options\.roundz: unknown option; did you mean 'rounds'\?"),
        ("cvae", {"xyz": 3}, r"options\.xyz: unknown option; known options are rounds, sampling"),
        ("cvae", {"rounds": 0}, r"options\.rounds: Input should be greater than or equal to 1, got 0"),
        ("cvae", {"sampling": 1.5}, r"options\.sampling: Input should be less than or equal to 1, got 1\.5"),
        ("fedsgd", {"model": "gan"}, r"options\.model: Input should be 'cvae', got 'gan'"),
        ("cvae", {"rate": "fast"}, r"options\.rate: Input should be a valid number.*, got 'fast'"),
        ("marginals", {"edges": [0, "a"]}, r"options\.edges\.1: Input should be a valid number.*, got 'a'"),
        ("marginals", {"edges": []}, r"options\.edges: .* at least 1 item.*, got \[\]"),
        (
            "marginals",
            {"edges": [0, 2, 2]},
            r"options\.edges: edges that rise from schema\.low = 0 .*\(0\.0, 2\.0, 2\.0\)",
        ),
        ("marginals", {"edges": [1, 2]}, r"options\.edges: edges that rise from schema\.low = 0 and end below .* = 6"),
        ("marginals", {"edges": [0, 6]}, r"end below schema\.high = 6"),
        ("factors", {"cross": 0}, r"options\.cross: Input should be greater than 0, got 0"),
        (
            "gaussian",
            {"covariance": "full"},
            r"options\.covariance: Input should be 'diagonal' or 'lowrank', got 'full'",
        ),
        ("marginals", {"label_weight": 0}, r"options\.label_weight: Input should be greater than 0, got 0"),
    ],
)
def test_wrong_spec_is_refused_in_one_line_that_names_it(kind, options, said):
    with pytest.raises(SpecError, match=said) as raised:
        build(kind, name="mine", **options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", sorted(set(registry.KINDS) - registry.SEQUENCES - registry.EITHER))
def test_method_of_expression_refuses_rows_of_tokens(kind):
    said = rf"methods\.{kind}\.kind: expected a method of sequences \(language\), as rows are tokens, got '{kind}'"
    with pytest.raises(SpecError, match=said):
        registry.build(MethodSpec(kind=kind), CODED, 20, True)


def test_method_of_sequences_refuses_expression():
    said = r"methods\.language\.kind: expected a method of expression, as the schema has no tokens, got 'language'"
    with pytest.raises(SpecError, match=said):
        registry.check_rows(MethodSpec(kind="language"), SCHEMA)


def test_method_of_genotypes_refuses_expression():
    said = r"methods\.genotypes\.kind: expected a cohort of scale = 'dosage' for a method of genotypes, got 'genotypes'"
    with pytest.raises(SpecError, match=said):
        registry.check_rows(MethodSpec(kind="genotypes"), SCHEMA)


def loads_torch(kind):
    code = f"""
import sys
from fedgenome.methods import registry
from fedgenome.study import MethodSpec, Schema
registry.build(MethodSpec(kind={kind!r}), Schema(genes=("A",), labels=("x",), high=6.0), 9, True)
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


def test_torch_is_loaded_for_the_kinds_that_need_it_only():
    assert not loads_torch("marginals") and not loads_torch("factors")
    assert loads_torch("cvae")
