"""Figures on the README and the page of results are those of the committed results files."""

import json
import re

import pytest

from experiments import figures, tables

README = tables.README.read_text(encoding="utf-8")
RECORDS = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(tables.HERE.glob("**/*results.json"))]


def test_targets_of_the_readme_are_those_of_the_committed_results():
    assert tables.filled(README) == README, "run python -m experiments.tables"


def test_page_of_results_is_that_of_the_committed_results():
    assert tables.PAGE.read_text(encoding="utf-8") == tables.page(), "run python -m experiments.tables"


def test_a_figure_altered_on_the_page_is_put_right():
    before, after = README.split(tables.BEGIN)
    altered = before + tables.BEGIN + re.sub(r"\d", lambda digit: str(9 - int(digit[0])), after, count=40)
    assert altered != README and tables.filled(altered) == README


@pytest.mark.parametrize("record", RECORDS, ids=[record["title"].splitlines()[0] for record in RECORDS])
def test_every_results_file_has_its_command_machine_date_and_targets_on_the_page(record):
    text = tables.page()
    assert f"`{record['command']}`, {record['machine']}, {record['date']}" in text
    assert all(f"- {target['name']}: " in text for target in record["targets"])


@pytest.mark.parametrize("record", RECORDS, ids=[record["title"].splitlines()[0] for record in RECORDS])
def test_the_readme_counts_met_targets_and_names_the_missed_ones(record):
    targets, text = record["targets"], tables._summary(record)
    met = [target for target in targets if target["ok"]]
    assert not targets or text in README
    assert f": {len(met)} of {len(targets)} met" in text and text.count("**missed**") == len(targets) - len(met)
    assert all(f"- {target['name']}: " in text for target in targets if not target["ok"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (0.73456, "0.735"), (12345.0, "12,345.0"), (102266, "102,266"), ("a ± b", "a ± b")],
)
def test_a_cell_shows_three_digits_and_whole_numbers_in_full(value, text):
    assert tables._rows([{"x": value}])[2] == f"| {text} |"


def test_a_row_without_a_column_has_an_empty_cell():
    assert tables._rows([{"a": 1}, {"a": 2, "b": 3}])[2:4] == ["| 1 |  |", "| 2 | 3 |"]


def test_rows_of_two_sections_have_a_table_each():
    rows = [{"section": "one", "a": 1}, {"section": "two", "b": 2}, {"section": "one", "a": 3}]
    assert tables._tables(rows) == [
        "**one**\n",
        *tables._rows([{"a": 1}, {"a": 3}]),
        "**two**\n",
        *tables._rows([{"b": 2}]),
    ]


@pytest.mark.parametrize("name", [name for name in figures.FIGURES if figures.results(name).exists()])
def test_figures_are_those_of_the_committed_results(name):
    assert (figures.FOLDER / f"{name}.svg").read_text(encoding="utf-8") == figures.FIGURES[name]()
