"""A journal is appended to, read back, and mends what a crash tore."""

from pathlib import Path

import pytest

from fedgenome.deployment.hospital import journal
from fedgenome.deployment.hospital.journal import Journal
from fedgenome.errors import SpecError
from fedgenome.federation.wire import Call


@pytest.fixture
def path(tmp_path):
    return tmp_path / journal.FILE


def test_lines_are_read_back_in_order_over_restarts(path):
    for number in range(3):
        with Journal(path) as book:
            book.note("ask", step=number)
    found = journal.last(path, 2)
    assert [(line["event"], line["step"]) for line in found] == [("ask", 1), ("ask", 2)]
    assert all(line["time"].endswith("Z") for line in found) and path.stat().st_mode & 0o777 == 0o600


def test_torn_line_is_passed_over_and_loses_no_other(path):
    path.write_text('{"event":"ask","step":0}\n{"event":"a')
    with Journal(path) as book:
        book.note("ask", step=1)
    assert [line["step"] for line in journal.last(path, 9)] == [0, 1]


def test_last_lines_of_a_long_journal_are_found(path):
    path.write_text("".join(f'{{"step":{number}}}\n' for number in range(100_000)))
    assert [line["step"] for line in journal.last(path, 3)] == [99_997, 99_998, 99_999]


def test_absent_journal_has_no_lines_and_unwritable_one_is_refused(path):
    assert journal.last(path, 3) == []
    with pytest.raises(SpecError, match="expected a journal to write to"):
        Journal(Path(path.parent / "nowhere" / "journal"))


@pytest.mark.parametrize("value", [True, 1.0, 2**70, "1", None, [1]])
def test_numbers_that_are_none_are_not_kept(value):
    assert journal.named(Call(header={"query": {"step": value}}))["step"] is None
