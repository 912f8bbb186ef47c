"""Vectors of what roles keep; each function returns what its vectors mean."""

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome.privacy.books import Budget
from fedgenome.privacy.chain import GENESIS, canonical, chained, torn
from fedgenome.privacy.ledger import Ledger
from fedgenome.privacy.replay import STATEMENT
from fedgenome.query import Mechanism, Query
from fedgenome.secure import party
from fedgenome.secure.once import Once
from fedgenome.secure.party import attempt_key, set_digest
from fedgenome.secure.winners import Chooser, _masked
from fedgenome.streams import Root
from fedgenome.study import Plan
from tests.vectors.cases.roles import CHOICE, IDENTITIES, NOISE, SITES, a_selection, flipped, hashed, pinned, public_of
from tests.vectors.library import identity_of, query_of

Records = list[dict[str, Any]]


def answers(v: Any) -> str:
    kept = [(f'["run-1","cvae",{step},0]', hashed(step), hashed("body", step, size=40 - 9 * step)) for step in range(3)]

    def file(count: int) -> str:
        return _written(
            lambda once: [once.record(key, digest, [bytes.fromhex(body)]) for key, digest, body in kept[:count]]
        )

    for count in range(4):
        of = {"file": file(count)}
        v.good(f"{count} answers", **of)
    right = of["file"]
    size = len(right) // 2
    second = len(file(1)) // 2 - 40  # where the body of the first answer began
    v.good("body damaged: its attempt stays spent", file=flipped(right, size - 1))
    v.good("body cut: its attempt stays spent", file=right[:-4])
    v.good("a record damaged: it and all after it were never there", file=flipped(right, second + 60))
    v.good("a record of another file: its check does not follow", file=file(1)[: 2 * second] + right[4 * second :])
    v.good("a record cut in its check", file=right[: 2 * (second + 100)])
    v.good("the zeros of a file that a crash left", file="00" * 20)
    v.bads(
        "file",
        of,
        {
            "magic": ("A file of answers begins with FGON.", b"FGPF".hex() + right[8:]),
            "version": ("Another version must not pass for an empty file.", flipped(right, 4, 3)),
            "truncated mark": ("Neither a record nor zeros.", right[:8]),
            "text": ("It is another file.", b"something that somebody wants to keep".hex()),
        },
    )
    _selections(v)
    return (
        "A file `answers` (zeros at its end left out) gives what was answered, the last answer, and its body if whole."
        " Of a selection under `terms` it gives the query that is kept, with key and share or with the winners."
    )


def _written(write: Callable[[Once], object]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / party.ANSWERS
        with Once(path) as once:
            write(once)
        return path.read_bytes().rstrip(b"\0").hex()


def _selections(v: Any) -> None:
    """The two records of a selection, in rings of either width; the second lies over the first."""
    for width, made in ((32, a_selection(length=5)), (64, a_selection(length=5, caps=[[s, 2**40] for s in SITES]))):
        asked, key = query_of(made["header"], made["terms"]), bytes.fromhex(hashed("noise"))
        opened, attempt = set_digest(asked.digest, list(SITES)), attempt_key(asked)
        share = np.arange(asked.question.length).astype(f"u{width // 8}") - 1

        masked = _masked(key, share).tobytes()
        noise = partial(_keep, asked, attempt, f"{opened} noise", key, masked)
        both = partial(_find, asked, attempt, opened, noise)
        of = v.good(f"a selection begun, {width} bits", file=_written(noise), terms=made["terms"])
        v.good(f"its winners, {width} bits", file=_written(both), terms=made["terms"])
    damaged = flipped(of["file"], len(of["file"]) // 2 - 30)
    v.good("its share damaged: the attempt stays spent", file=damaged, terms=made["terms"])
    v.bad("selection under other terms", "It was asked under other terms.", **of | {"terms": pinned(quorum=3)})


def _keep(query: Query, attempt: str, stage: str, key: bytes, masked: bytes, once: Once) -> None:
    Chooser(Root.secret(), once, None)._keep(query, attempt, stage, key, masked)


def _find(query: Query, attempt: str, opened: str, noise: Callable[[Once], None], once: Once) -> None:
    noise(once)
    Chooser(Root.secret(), once, None)._found(query, attempt, opened, (4, 0, 2))


# ---- Ledgers


def ledger(v: Any) -> str:
    of = v.good("a run, reserved, charged and closed", file=_kept(_private))
    for name, what in {
        "nobody signs; a plan that was closed unspent is free again": _unspent,
        "no budget: a simulation, and trust none": _open,
        "local training, charged by its steps": _training,
    }.items():
        v.good(name, file=_kept(what, signed=what is _training))
    v.good("a torn line that the next record tells of", file=_torn(of["file"]))
    v.good("an unfinished last line", file=of["file"][:-20])
    v.good("an unfinished last line that lacks its end only", file=of["file"][:-1])
    v.good("an empty file", file="")
    _broken_chains(v, of)
    _broken_rules(v, of)
    return (
        "A site's ledger gives its account, the hash of every line, torn lines, who signed, and every run: plan, status"
        " and charges by form. Prices of plans are taken as they stand, sums of them are (epsilon, delta)."
    )


def _kept(write: Callable[[Ledger], None], signed: bool = True) -> str:
    budget = None if write is _open else Budget(epsilon=4.0, delta=2e-5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        signer = identity_of(IDENTITIES["graz"]) if signed else None
        with Ledger(path, "population-1", budget, signer=signer) as held:
            write(held)
        return path.read_text()


def _private(held: Ledger) -> None:
    plan = Plan.model_validate({"mechanisms": [NOISE | {"count": 2}, CHOICE]})
    held.reserve("run-1", hashed("study"), plan, 3.0, 1e-5)
    held.charge("run-1", Mechanism(**NOISE))
    held.charge("run-1", Mechanism(**CHOICE))
    held.settle("run-1")


def _unspent(held: Ledger) -> None:
    plan = Plan.model_validate({"mechanisms": [NOISE]})
    for run in ("run-1", "run é"):
        held.reserve(run, hashed("study"), plan, 3.0, 1e-5)
        held.settle(run)
    held.reserve("run-3", hashed("study"), plan, 3.5, 1e-5)


def _open(held: Ledger) -> None:
    held.reserve("run-1", hashed("study"), Plan.model_validate({"mechanisms": [NOISE]}), None, None, kind="simulation")
    held.charge("run-1", Mechanism(**NOISE))
    held.reserve("run-2", hashed("study"), Plan(), None, None, kind="none")
    for _ in range(2):
        held.charge("run-2", None)


def _training(held: Ledger) -> None:
    form = NOISE | {"where": "home", "count": 6}
    held.reserve("run-1", hashed("study"), Plan.model_validate({"mechanisms": [form]}), 1.0, 1e-6)
    held.charge("run-1", Mechanism(**form), 4)
    held.charge("run-1", Mechanism(**form), 2)


def _records(file: str) -> Records:
    return [json.loads(line) for line in file.splitlines()]


def _chain(records: Records, head: str = GENESIS, first: int = 0) -> str:
    """Return ``records`` as a chain that holds: what anybody can do who can write the file."""
    lines = []
    for number, record in enumerate(records, first):
        bare = {name: value for name, value in record.items() if name != "hash"} | {"line": number}
        head = chained(head, bare)
        lines.append(canonical(bare | {"hash": head}))
    return b"".join(lines).decode()


def _torn(file: str) -> str:
    records = _records(file)[:3]
    fragment = file[-90:-30] + "\n"
    whole = _chain(records)
    return whole + fragment + _chain([torn(fragment.encode())], records[-1]["hash"], 3)


def _broken_chains(v: Any, of: dict[str, Any]) -> None:
    right = of["file"]
    lines = right.splitlines(keepends=True)
    told = _torn(of["file"])
    wrongs = {
        "line changed": (
            "A line says something else than was chained.",
            right.replace('"spends":null', '"spends":true'),
        ),
        "wrong hash": ("The last line's hash is not that of its record.", _altered(right, -6)),
        "line missing": ("A line is missing.", "".join([*lines[:2], *lines[3:]])),
        "first line missing": ("The first line is missing.", "".join(lines[1:])),
        "lines swapped": ("Two lines changed places.", "".join([*lines[:2], lines[3], lines[2], lines[4]])),
        "line repeated": ("A line stands twice.", "".join([*lines[:3], *lines[2:]])),
        "another beginning": (
            "The first hash follows that of the name of the format.",
            _chain(_records(right), "0" * 64),
        ),
        "number of no float": ("It would come back as infinite.", right.replace('"spends":null', '"spends":1e400')),
        "space": ("A line is canonical JSON.", right.replace('"event":"charge"', '"event": "charge"', 1)),
        "text between lines": ("No record tells of these bytes.", "".join([*lines[:3], "text\n", *lines[3:]])),
        "torn line altered": ("The record tells of other bytes.", told.replace('"run":"run-1"', '"run":"run-2"')),
        "a crash that was none": (
            "There are no bytes to tell of.",
            right + _chain([torn(b"")], _records(right)[-1]["hash"], 5),
        ),
    }
    for name, (why, value) in wrongs.items():
        v.bad(name, why, file=value)


def _altered(raw: str, at: int) -> str:
    return raw[:at] + ("1" if raw[at : at + 1] == "0" else "0") + raw[at + 1 :]


def _broken_rules(v: Any, of: dict[str, Any]) -> None:
    opened, reserve, first, second, close = _records(of["file"])
    unsigned = [opened, {name: x for name, x in reserve.items() if name not in ("signer", "signature")}, first, second]
    held = unsigned[1]
    more = held | {"run": "run-2"}
    wrongs: dict[str, tuple[str, Records]] = {
        "charge beyond the plan": (
            "The plan holds two queries of this form.",
            [*unsigned, first | {"spends": None}, first | {"spends": None}],
        ),
        "charge of another form": ("The plan holds no query of this form.", [*unsigned[:2], _formed(first, level=0.4)]),
        "charge before a reservation": ("Nothing is reserved for this run.", [opened, first]),
        "charge of no steps": ("A charge is for at least one step.", [*unsigned[:2], first | {"steps": 0}]),
        "charge without a mechanism": ("Only under trust none.", [*unsigned[:2], first | {"form": None}]),
        "charge that spends nothing": (
            "The first charge spends the plan whole.",
            [*unsigned[:2], first | {"spends": None}],
        ),
        "charge of another kind": ("A charge is of its run's kind.", [*unsigned[:2], first | {"kind": "simulation"}]),
        "charge after close": ("Nothing is charged after close.", [*unsigned[:2], _bare(close), first]),
        "close twice": ("A run is closed once.", [*unsigned, _bare(close), _bare(close)]),
        "another version": ("The version is 1.", [opened | {"version": 2}]),
        "two accounts": ("A ledger is of one account.", [opened, opened]),
        "no account": ("The account comes first.", [held]),
        "run twice": ("A run is reserved once.", [opened, held, held]),
        "over budget": ("All plans together pass the budget.", [opened, held, more]),
        "private without epsilon": ("A private plan has its price.", [opened, held | {"epsilon": None}]),
        "simulation with epsilon": ("A simulation claims nothing.", [opened, held | {"kind": "simulation"}]),
        "unknown kind": ("It is private, simulation or none.", [opened, held | {"kind": "public"}]),
        "unknown unit": ("It is donor, row or site.", [opened, held | {"unit": "hospital"}]),
        "two units": ("ε of donors and of sites do not add up.", [opened, *_of_two_units(held, more)]),
        "none under a budget": ("Trust none has no bounded cost.", [opened, _free(held)]),
        "plan of no mechanism": ("A plan holds mechanisms.", [opened, held | {"plan": {"mechanisms": [{}]}}]),
        "unknown event": ("There is no such event.", [opened, held, {"event": "refund", "run": "run-1"}]),
        "field missing": ("A reservation names its Study.", [opened, {k: x for k, x in held.items() if k != "study"}]),
        "changed under a signature": ("The signature is over another price.", [opened, reserve | {"epsilon": 1.0}]),
        "signature altered": ("A bit of the signature is another.", [opened, reserve | _bent(reserve)]),
        "other signer": ("Another identity signed it.", [opened, reserve | {"signer": public_of("berlin")}]),
        "signer missing": ("Who signed is named.", [opened, {k: x for k, x in reserve.items() if k != "signer"}]),
        "signature of another place": ("It was signed where another line came before.", [opened, _resigned(reserve)]),
    }
    for name, (why, records) in wrongs.items():
        v.bad(name, why, file=_chain(records))


def _of_two_units(held: dict[str, Any], more: dict[str, Any]) -> Records:
    return [held | {"budget": None}, more | {"budget": None, "unit": "site"}]


def _bare(record: dict[str, Any]) -> dict[str, Any]:
    return {"event": record["event"], "run": record["run"]}


def _formed(record: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return record | {"form": record["form"] | changes}


def _free(held: dict[str, Any]) -> dict[str, Any]:
    return held | {"kind": "none", "epsilon": None, "delta": None}


def _bent(record: dict[str, Any]) -> dict[str, Any]:
    return {"signature": flipped(record["signature"], 20)}


def _resigned(record: dict[str, Any]) -> dict[str, Any]:
    bare = {name: x for name, x in record.items() if name not in ("signature", "hash")}
    signed = identity_of(IDENTITIES["graz"]).sign(STATEMENT, [chained(GENESIS, bare)])
    return record | {"signature": signed.hex()}
