"""Figures on the README are those of the committed results files."""

import json
import re

import pytest

from experiments import tables

PAGE = tables.README.read_text(encoding="utf-8")


def test_tables_of_the_readme_are_those_of_the_committed_results():
    assert tables.filled(PAGE) == PAGE, "run python -m experiments.tables"


def test_a_figure_altered_on_the_page_is_put_right():
    before, after = PAGE.split(tables.BEGIN)
    altered = before + tables.BEGIN + re.sub(r"\d", lambda digit: str(9 - int(digit[0])), after, count=40)
    assert altered != PAGE and tables.filled(altered) == PAGE


def test_every_results_file_has_its_command_machine_date_and_targets_in_it():
    text = tables.tables()
    for path in tables.HERE.glob("**/*results.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert f"`{record['command']}`, {record['machine']}, {record['date']}" in text
        assert all(f"- {target['name']}: " in text for target in record["targets"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (0.73456, "0.735"), (12345.0, "12,345.0"), (102266, "102,266"), ("a ± b", "a ± b")],
)
def test_a_cell_shows_three_digits_and_whole_numbers_in_full(value, text):
    assert tables._rows([{"x": value}])[2] == f"| {text} |"
