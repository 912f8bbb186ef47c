"""What must hold in the volumes of a federation after a run, whatever was struck: read from what the roles kept."""

import json
import math

import safetensors.numpy

from fedgenome.privacy import accounting
from fedgenome.privacy import ledger as ledgers
from fedgenome.secure.party import ANSWERS
from tests.faults.checks import told

SITES, PARTIES = ("site-1", "site-2", "site-3"), ("party-0", "party-1", "party-2")


def broken(volumes, run, lost=()):
    """Return the names of what does not hold after a run that ended with a release.

    ``lost``: sites that were killed, and may have charged an attempt whose answer they had not written yet.
    """
    held = {
        **{f"{site} paid once": paid_once(volumes, run, site, int(site in lost)) for site in SITES},
        **{f"{site} answered once": answered_once(volumes, run, site) for site in SITES},
        "no sample noised twice": opened_once(volumes, run),
        "nothing half written": nothing_half_written(volumes, run),
        "a release of the plan's epsilon": released(volumes, run),
    }
    return [name for name, holds in held.items() if not holds]


def paid_once(volumes, run, site, lost=0):
    """A site reserved the plan once, if at all, and charged once for every attempt that it answered."""
    path = volumes / f"state-{site}" / "ledger.jsonl"
    answered = answers(volumes, run, site)
    if not (reserved := reservations(path, run)):
        return not answered
    charged = sum(ledgers.verify(path).books.runs[run].used.values())
    return len(reserved) == 1 and len(answered) <= charged <= len(answered) + lost


def answered_once(volumes, run, site):
    """No attempt was answered with two bundles: each stands once in the memory, which holds all the journal's."""
    noted = [line for line in lines(volumes / f"state-{site}" / "journal.jsonl") if line.get("run") == run]
    given = [line for line in noted if line["event"] == "ask" and line["outcome"] == "answered"]
    once = answers(volumes, run, site)
    return once is not None and {(line["method"], line["step"], line["attempt"]) for line in given} <= set(once)


def opened_once(volumes, run):
    """Each party opened an attempt at most once, and all that opened it did so for one set of one query."""
    opened = [answers(volumes, run, party) for party in PARTIES]
    if None in opened:
        return False
    return all(len({one[when] for one in opened if when in one}) == 1 for one in opened for when in one)


def nothing_half_written(volumes, run):
    """Every file of the job can be read, ledgers and journals end in whole lines, and the run's folder is finished."""
    job, home = volumes / "jobs" / run, folder(volumes, run)
    records = [json.loads(path.read_text()) for path in (*job.glob("*.json"), *(job / "state").glob("*.json"))]
    arrays = [safetensors.numpy.load(path.read_bytes()) for path in job.rglob("*.safetensors")]
    torn = [ledgers.verify(volumes / f"state-{site}" / "ledger.jsonl").torn for site in SITES]
    whole = all(lines(volumes / f"state-{site}" / "journal.jsonl") for site in SITES)
    ended = (home / "internal" / "outcome.json").exists() and not (home / "internal" / "candidate").exists()
    return bool(records and arrays) and not any(torn) and whole and ended


def released(volumes, run):
    """The release's card tells what the plan that every site reserved costs, whatever was tried again."""
    ledger = [volumes / f"state-{site}" / "ledger.jsonl" for site in SITES]
    held = [ledgers.verify(path).books.runs[run] for path in ledger if reservations(path, run)]
    card = folder(volumes, run) / "release" / "card.json"
    if not card.exists() or len({(one.plan.digest, one.epsilon, one.delta) for one in held}) != 1:
        return False
    told = json.loads(card.read_text())["guarantee"]["epsilon"]
    return math.isclose(told, accounting.priced(held[0].plan, held[0].epsilon, held[0].delta), rel_tol=1e-9)


def answers(volumes, run, role):
    """Return {(method, step, attempt): digest} of what a role answered or opened; None if anything stands twice."""
    path = volumes / f"state-{role}" / ANSWERS
    records = [(json.loads(key), digest) for key, digest in (told(path)[0] if path.exists() else ())]
    found = [(tuple(moment[1:]), digest) for moment, digest in records if moment[0] == run]
    return dict(found) if len(dict(found)) == len(found) else None


def reservations(path, run):
    """Return the lines of a ledger by which a plan was reserved for a run."""
    return [line for line in lines(path) if line["event"] == "reserve" and line["run"] == run]


def lines(path):
    """Return the records of a file of JSON lines, all of them whole."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def folder(volumes, run):
    """Return the folder of a run's release and internal files."""
    told_of = (volumes / "runs").glob("*/internal/run.json")
    (found,) = [path.parent.parent for path in told_of if json.loads(path.read_text())["run"] == run]
    return found
