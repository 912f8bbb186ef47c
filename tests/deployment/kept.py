"""What must hold in the volumes of a federation after a run, whatever was struck: read from what the roles kept."""

import json
from pathlib import Path

import safetensors.numpy

from fedgenome.privacy import ledger as ledgers
from fedgenome.secure.party import ANSWERS
from tests.faults.checks import told

SITES, PARTIES = ("site-1", "site-2", "site-3"), ("party-0", "party-1", "party-2")


def moments(path, run):
    """Return {(method, step, attempt): digest} of what was answered once in a run; None if anything stands twice."""
    records, _ = told(path)
    keys = [(tuple(moment[1:]), digest) for moment, digest in ((json.loads(key), d) for key, d in records) if moment[0] == run]
    return dict(keys) if len(dict(keys)) == len(keys) else None


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def paid_once(volumes, run, site, lost=0):
    """A site reserved the plan once, and charged once for every attempt that it answered.

    ``lost``: attempts that it may have charged and not answered, having been killed in between.
    """
    path = volumes / f"state-{site}" / "ledger.jsonl"
    verdict = ledgers.verify(path)
    reserved = [line for line in lines(path) if line["event"] == "reserve" and line["run"] == run]
    answered = moments(path.with_name(ANSWERS), run)
    if not reserved:
        return not answered
    charged = sum(verdict.books.runs[run].used.values())
    return len(reserved) == 1 and len(answered) <= charged <= len(answered) + lost


def answered_once(volumes, run, site):
    """No attempt was answered with two different bundles: each stands once, and the journal agrees that it was given."""
    once = moments(volumes / f"state-{site}" / ANSWERS, run)
    noted = [line for line in lines(volumes / f"state-{site}" / "journal.jsonl") if line["run"] == run]
    given = {
        (line["method"], line["step"], line["attempt"])
        for line in noted
        if line["event"] == "ask" and line["outcome"] == "answered"
    }
    return once is not None and given <= set(once)


def opened_once(volumes, run):
    """Each party opened an attempt at most once, and all that opened it opened the same set of the same query."""
    opened = [moments(volumes / f"state-{party}" / ANSWERS, run) for party in PARTIES]
    if None in opened:
        return False
    sets = {when: {one[when] for one in opened if when in one} for when in {when for one in opened for when in one}}
    return all(len(digests) == 1 for digests in sets.values())


def nothing_half_written(volumes, run):
    """Every file of the job can be read, ledgers and journals end in whole lines, and the run's folder is finished."""
    job, home = volumes / "jobs" / run, folder(volumes, run)
    records = [json.loads(path.read_text()) for path in (*job.glob("*.json"), *(job / "state").glob("*.json"))]
    arrays = [safetensors.numpy.load(path.read_bytes()) for path in job.rglob("*.safetensors")]
    torn = [ledgers.verify(volumes / f"state-{site}" / "ledger.jsonl").torn for site in SITES]
    whole = all(lines(volumes / f"state-{site}" / "journal.jsonl") for site in SITES)
    ended = (home / "internal" / "outcome.json").exists() and not (home / "internal" / "candidate").exists()
    return bool(records and arrays) and not any(torn) and whole and ended


def folder(volumes, run):
    """Return the folder of a run's release and internal files."""
    found = [path.parent.parent for path in (volumes / "runs").glob("*/internal/run.json") if _run(path) == run]
    return found[0] if len(found) == 1 else Path("none or two")


def _run(path):
    return json.loads(path.read_text())["run"]


def epsilon(volumes, run):
    """Return the ε that a run's card tells; None without a release."""
    card = folder(volumes, run) / "release" / "card.json"
    return json.loads(card.read_text())["guarantee"]["epsilon"] if card.exists() else None


def attempts(volumes, run):
    """Return how many attempts the parties opened, of all queries together."""
    return len(moments(volumes / f"state-{PARTIES[0]}" / ANSWERS, run) or ())
