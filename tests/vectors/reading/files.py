"""What roles keep: answers, and ledgers."""

import hashlib
import hmac
import math
import struct
from json import loads

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.vectors.reading.pinned import asked, check_mechanism
from tests.vectors.reading.rules import Bad, canonical, digest_of, exactly, parsed, rule, sha256, statement_of, verify
from tests.vectors.reading.shares import word_type


def answers(file, terms=None):
    raw, place, before = bytes.fromhex(file), 0, bytes(32)
    told, last, body = {}, ["", None], None
    rule(raw[:5] in (b"FGON\x01", bytes(5), b""), "a file of answers")
    while len(raw) - place >= 49:
        magic, version, n_names, n_body, sha = struct.unpack_from(">4sBIQ32s", raw, place)
        end = place + 49 + n_names
        check = hashlib.sha256(before + raw[place:end]).digest()
        if (magic, version) != (b"FGON", 1) or raw[end : end + 32] != check:
            break
        last, before, place = loads(raw[place + 49 : end]), check, end + 32
        told[last[0]] = last[1]
        body = raw[place : place + n_body].ljust(n_body, b"\0")  # zeros at the end of a vector are left out
        body = body if hashlib.sha256(body).digest() == sha else None
    kept = kept_of(last[1], body, terms)
    return {"answered": told, "last": last, "body": None if body is None else body.hex(), "selection": kept}


def kept_of(digest, body, terms):
    """What a selection is taken up with: key and share, or the winners."""
    stage = str(digest).split(" ")[-1]
    if terms is None or body is None or stage not in ("noise", "winners"):
        return None
    key, size = struct.unpack_from(">32sI", body)
    header, rest = loads(body[36 : 36 + size]), body[36 + size :]
    found = asked(header, terms)
    if stage == "winners":
        return {"query": found["digest"], "winners": np.frombuffer(rest, ">u4").tolist()}
    stream = Cipher(algorithms.AES256(hmac.digest(key, b"\0\0\0\5smask", "sha256")), modes.CTR(bytes(16))).encryptor()
    masked, mask = (np.frombuffer(raw, word_type(found["width"])) for raw in (rest, stream.update(bytes(len(rest)))))
    return {"query": found["digest"], "key": key.hex(), "share": (masked - mask).tobytes().hex()}


def record_of(line):
    """The record of a line of a ledger, None if it is none."""
    try:
        record = parsed(line.removesuffix(b"\n"))
    except (Bad, ValueError):
        return None
    return record if type(record) is dict else None


def chained(head, record):
    return sha256(f"{head}{canonical(record)}\n".encode())


def ledger(file):
    data, start, end = file.encode(), 0, 0
    head, found = sha256(b"fedgenome ledger 1"), {"heads": [], "noted": 0, "signers": [], "unsigned": 0}
    books = {"account": "", "runs": {}, "budget": None, "sanitized": []}
    while stop := data.find(b"\n", start) + 1:
        record, fragment = record_of(data[start:stop]), data[end:start]
        start = stop
        if record is None:
            continue
        told, number = record.pop("hash", None), len(found["heads"])
        torn = {"line": number, "event": "torn", "length": len(fragment), "sha256": sha256(fragment)}
        rule(record == torn if fragment else record.get("event") != "torn", "what a crash left is told of")
        rule(told == chained(head, record) and record.get("line") == number, "the next record of the chain")
        apply(books, record)
        check_signature(found, head, record)
        found["noted"] += bool(fragment)
        found["heads"].append(head := told)
        end = stop
    del books["sanitized"]
    runs = {name: run_told(run) for name, run in books["runs"].items()}
    reserved = [run["price"] for run in books["runs"].values() if run["used"] or not run["closed"]]
    spent = [run["price"] for run in books["runs"].values() if run["used"]]
    costs = {"reserved": total(reserved), "spent": total(spent)}
    return found | {"torn": len(data) - end} | books | {"runs": runs} | costs


def run_told(run):
    used = [[loads(form), count] for form, count in run["used"].items()]
    status = "closed" if run["closed"] else "spent" if run["used"] else "reserved"
    return {"plan": digest_of("plan", run["plan"]), "status": status, "used": used}


def total(costs):
    return [math.fsum(cost[i] or 0.0 for cost in costs) for i in range(2)]


def check_signature(found, before, record):
    if "signature" not in record:
        found["unsigned"] += record["event"] in ("reserve", "close", "sanitize")
        return
    bare = {name: value for name, value in record.items() if name != "signature"}
    rule("signer" in record, "who signed")
    verify(record["signer"], bytes.fromhex(record["signature"]), statement_of("ledger line", [chained(before, bare)]))
    if record["signer"] not in found["signers"]:
        found["signers"].append(record["signer"])


FIELDS = {
    "open": {"version", "account"},
    "reserve": {"kind", "run", "study", "plan", "epsilon", "delta", "unit", "budget"},
    "charge": {"kind", "run", "form", "spends"},
    "close": {"run"},
    "sanitize": {"data", "study", "claim", "kind", "epsilon", "diameter", "rounding", "labels_epsilon"},
    "torn": {"length", "sha256"},
}


def apply(books, record):
    event = record.get("event")
    rule(event in FIELDS and set(record) >= FIELDS[event], "an event with its fields")
    rule(event == "torn" or (event == "open") == (books["account"] == ""), "one open, before all else")
    if event == "open":
        rule(record["version"] == 1, "version 1")
        books["account"] = record["account"]
    elif event == "reserve":
        reserve(books, record)
    elif event == "sanitize":
        rule(record["data"] not in books["sanitized"], "rows are sanitized once")
        books["sanitized"].append(record["data"])
    elif event != "torn":
        run = books["runs"].get(record["run"])
        rule(run is not None and not run["closed"], "an open run")
        if event == "close":
            run["closed"] = True
        else:
            charge(run, record)


def reserve(books, record):
    price, budget = [record["epsilon"], record["delta"]], record["budget"]
    rule(record["run"] not in books["runs"] and record["kind"] in ("private", "simulation", "none"), "run, kind")
    for mechanism in exactly(record["plan"], mechanisms=list)["mechanisms"]:
        check_mechanism(mechanism)
    if record["kind"] == "private":
        rule(None not in price and 0 < price[0] < math.inf and 0 < price[1] < 1, "a price")
        rule(record["plan"]["mechanisms"], "queries")
    else:
        rule(price == [None, None], "no price")
    rule(record["unit"] in ("donor", "row", "site"), "unit")
    live = [run for run in books["runs"].values() if run["kind"] == "private" and (run["used"] or not run["closed"])]
    rule(record["kind"] != "private" or {run["unit"] for run in live} <= {record["unit"]}, "one unit an account")
    if budget:
        exactly(budget, epsilon=float, delta=float)
        held = [run["price"] for run in books["runs"].values() if run["used"] or not run["closed"]]
        within = zip(total([*held, price]), (budget["epsilon"], budget["delta"]), strict=True)
        rule(record["kind"] != "none" and all(x <= most * (1 + 1e-9) for x, most in within), "the budget")
    plan = {"plan": record["plan"], "kind": record["kind"], "unit": record["unit"], "price": price}
    books["runs"][record["run"]] = plan | {"used": {}, "closed": False}
    books["budget"] = [budget["epsilon"], budget["delta"]] if budget else None


def charge(run, record):
    form, steps = record["form"], record.get("steps", 1)
    if form:
        check_mechanism(form)
    name = canonical(form and form | {"count": 1})
    held = [m["count"] for m in run["plan"]["mechanisms"] if canonical(m | {"count": 1}) == name]
    allowed = sum(held) if form else math.inf if run["kind"] == "none" else 0
    rule(type(steps) is int and steps >= 1 and run["used"].get(name, 0) + steps <= allowed, "within the plan")
    rule(record["spends"] == (None if run["used"] else run["price"]), "the first charge spends the plan whole")
    rule(record["kind"] == run["kind"], "the run's kind")
    run["used"][name] = run["used"].get(name, 0) + steps
