"""docs/pitfalls.md: every trap is listed once, with tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "pitfalls.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
TRAPS = re.findall(r"^\| (\d+) \|.*$", PAGE, re.MULTILINE)


def defined():
    """Return the name of every test of the repository."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield node.name


def missing(named):
    return sorted(set(named) - set(defined()))


def test_every_test_that_the_page_names_exists():
    assert len(NAMED) > 60 and missing(NAMED) == []


def test_name_of_no_test_is_noticed():
    assert missing([*NAMED, "test_that_is_not_there"]) == ["test_that_is_not_there"]


def test_traps_are_numbered_one_by_one():
    assert [str(number) for number in range(1, len(TRAPS) + 1)] == TRAPS and len(TRAPS) >= 28


@pytest.mark.parametrize("number", TRAPS)
def test_trap_has_a_test(number):
    (row,) = re.findall(rf"^\| {number} \|.*$", PAGE, re.MULTILINE)
    assert re.search(r"`test_\w+`", row) and len(row.split(" | ")) == 5
