"""Logs tell what happened and where, and nothing of what it happened to."""

import io
import json
import logging
import sys
import threading
import warnings

import pytest

from fedgenome.deployment import logs
from fedgenome.errors import Refused, SpecError

SECRET = "AAACATACAACCAC-1"
ours = logging.getLogger("fedgenome.federation.site")


@pytest.fixture
def told(monkeypatch):
    """Install logs of a process; return what they say, line by line."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    stream = io.StringIO()
    handlers = root.handlers[:]
    root.handlers[:] = []  # `force` closes those it finds
    log = logs.install(stream)
    yield log, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(False)
    logging.setLogRecordFactory(logging.LogRecord)
    root.handlers[:] = handlers


def failing():
    raise SpecError(f"row {SECRET}")


def test_refusal_of_a_site_is_told_by_template_type_and_place(told):
    try:
        failing()
    except SpecError as fault:
        ours.error("site %s refuses a %s: %s", "north", "ask", fault)
    (line,) = told[1]()
    assert line["event"] == "site %s refuses a %s: %s" and line["fault"] == "SpecError"
    assert line["at"].startswith("test_logs.py:") and SECRET not in str(line)


def test_traceback_of_an_unforeseen_error_is_its_type_and_place(told):
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        ours.exception("site %s failed at a %s", "north", "ask")
    (line,) = told[1]()
    assert line["fault"] == "RuntimeError" and SECRET not in str(line)


def test_words_of_other_packages_and_warnings_are_withheld(told, monkeypatch):
    own = logging.StreamHandler(aside := io.StringIO())
    other = logging.getLogger("anndata")
    monkeypatch.setattr(other, "handlers", [own])
    other.error(f"bad row {SECRET}")
    assert aside.getvalue() == "withheld\n"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, stacklevel=1)
    assert {line["event"] for line in told[1]()} == {"withheld"} and SECRET not in str(told[1]())


def test_error_that_nobody_caught_is_told_without_its_text(told):
    thread = threading.Thread(target=failing)
    thread.start()
    thread.join()
    sys.excepthook(SpecError, SpecError(SECRET), None)
    assert [line["where"] for line in told[1]()] == ["thread", "main"] and SECRET not in str(told[1]())


def test_own_log_is_json_with_time_and_level_and_rules_of_refusals(told):
    told[0].info("approved", study="ab", **logs.of(Refused("policy", "policy.delta: at most 1e-06")))
    (line,) = told[1]()
    assert (line["event"], line["level"], line["code"]) == ("approved", "info", "policy") and line["time"]
