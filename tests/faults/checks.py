"""What must hold in the folders of a run that has ended, whatever was struck: recomputed from what the roles kept."""

import hashlib
import json
import struct
from collections import Counter

import numpy as np

from fedgenome.federation.checkpoint import Checkpoint
from fedgenome.federation.site import SiteAgent, pinned
from fedgenome.federation.wire import Call
from fedgenome.privacy import ledger as ledgers
from fedgenome.privacy.ledger import Ledger
from fedgenome.query import PARTIES
from fedgenome.secure import frames
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.party import ANSWERS, IDENTITY, Party, set_digest
from fedgenome.secure.replies import plain
from fedgenome.secure.runkeys import RunKey
from fedgenome.streams import Root
from tests.faults import study as scene
from tests.federation.small import make_plan

_RECORD = struct.Struct(">4sBIQ32s")


def told(path):
    """Read a file of what was answered by its layout alone: (key, digest) of every record; the last body or None."""
    data, place, check, records, body = path.read_bytes(), 0, bytes(32), [], None
    while data[place : place + 4] == b"FGON":
        _, _, n_names, n_body, sha256 = _RECORD.unpack_from(data, place)
        end = place + _RECORD.size + n_names
        check = hashlib.sha256(check + data[place:end]).digest()
        if check != data[end : end + 32]:
            break  # a torn record; it lies where the last body was
        records.append(tuple(json.loads(data[place + _RECORD.size : end])))
        place = end + 32
        body = data[place : place + n_body]
        body = body if hashlib.sha256(body).digest() == sha256 else None
    return records, body


def events(play, what):
    """Return what all coordinators of the run noted of one kind, in order: (when, entry)."""
    entries = [json.loads(line) for line in (play.folder / "log.jsonl").read_text().splitlines()]
    return [(tuple(entry["when"]), entry) for entry in entries if entry["event"] == what]


def asked_at(play, when):
    method, step, attempt = when
    assert step == 0
    return scene.query(play.study, method, attempt)


def sums_are_exact(play):
    """Every opened sum is that of its sites and all parties' noise, and each method learnt from its last one."""
    last = {}
    for when, entry in events(play, "opened"):
        words = scene.total(play.study, asked_at(play, when), entry["sites"])
        if words.tolist() != entry["words"]:
            return False
        last[when[0]] = words
    plan = make_plan(play.study, scene.NOISE)
    kept = Checkpoint(play.folder / "state", {"run": scene.RUN, "study": play.study.digest, "plan": plan.digest})
    learnt = {label: scene.learnt(play.study, label, words) for label, words in last.items()}
    return set(learnt) == set(scene.LABELS) and all(
        np.array_equal(kept.load(label).state[name], array) for label in learnt for name, array in learnt[label].items()
    )


def site_paid_once(play, site):
    """Each attempt that a site answered was asked, has one digest and one charge, all within the plan."""
    home = play.folder / "sites" / site
    records, _ = told(home / ANSWERS)
    charges = _charges(home / "ledger.jsonl")
    answered = {scene.moment(key): digest for key, digest in records}
    asked = {when for when, _ in events(play, "asked")}
    summed = {when for when, entry in events(play, "opened") if site in entry["sites"]}
    lost = int(play.schedule.role == f"site {site}")  # charged, then struck before the answer was kept
    allowed = 2 if play.study.privacy.trust == "distributed" else len(asked)  # of a form: one query and its reserve
    return (
        len(answered) == len(records)
        and summed <= set(answered) <= asked
        and all(digest == asked_at(play, when).digest for when, digest in answered.items())
        and len(answered) <= len(charges) <= min(len(answered) + lost, len(asked))
        and max(Counter(charges).values(), default=0) <= allowed
    )


def _charges(path):
    """Return the scope of each charge in a ledger that verifies and ends in a whole line."""
    verdict = ledgers.verify(path)
    records = [record for record in map(_parsed, path.read_bytes().splitlines()) if record]
    assert verdict.torn == 0 and len(records) == verdict.records
    return [(record["form"] or {}).get("scope") for record in records if record["event"] == "charge"]


def _parsed(line):
    try:
        return json.loads(line)
    except ValueError:
        return None


def site_repeats(play, site):
    """Asked its last attempt again, a new site gives the bytes first sent, uncharged, and refuses a changed one."""
    home = play.folder / "sites" / site
    records, body = told(home / ANSWERS)
    with Ledger(home / "ledger.jsonl", f"people of {site}") as ledger, Once(home / ANSWERS) as once:
        root, identity = Root.of(scene.SEED, "site", site), Identity.load(home / IDENTITY)
        given = {"ledger": ledger, "once": once, "identity": identity, "public": True}
        agent = SiteAgent(site, lambda _: scene.shard(site), root=root, admit=pinned(play.study.digest), **given)
        assert agent.handle("join", _join(play)).refusal is None
        if not records:
            return True
        last = scene.moment(records[-1][0])
        before, header = ledger.head, asked_at(play, last).header()
        again = agent.handle("ask", Call(header={"query": header}))
        sent = b"".join(array.tobytes() for _, array in sorted(again.arrays.items()))
        changed = agent.handle("ask", Call(header={"query": header | {"scale": header["scale"] / 2}}))
        refused = body is None and again.refusal[0] == "asked-before"
        first = {entry["sha256"] for when, entry in events(play, "received") if (when, entry["site"]) == (last, site)}
        same = refused or (sent == body[32:] and first <= {hashlib.sha256(sent).hexdigest()})
        return same and changed.refusal[0] == "asked-before" and ledger.head == before


def _join(play):
    plan = make_plan(play.study, scene.NOISE)
    given = (play.study.digest, scene.RUN, play.study.terms(plan))
    made = [RunKey.make(PartyKey.generate().public, one, *given, index) for index, one in enumerate(_identities(play))]
    records = {"study": play.study.model_dump(mode="json", by_alias=True), "plan": plan.model_dump(mode="json")}
    return Call(header={**records, "run": scene.RUN, "keys": [key.to_json() for key in made]})


def _identities(play):
    return [Identity.load(play.folder / "parties" / str(index) / IDENTITY) for index in range(PARTIES)]


def parties_opened_one_set(play):
    """Each party opened an attempt once, for the one set that was asked for; all three opened what was learnt from."""
    meant = {when: entry["sites"] for when, entry in events(play, "revealing")}
    learnt = {when for when, _ in events(play, "opened")}
    for index in range(PARTIES):
        records, _ = told(play.folder / "parties" / str(index) / ANSWERS)
        opened = {scene.moment(key): digest for key, digest in records}
        if len(opened) < len(records) or not learnt <= set(opened) <= set(meant):
            return False
        queries = {when: asked_at(play, when).digest for when in opened}
        if opened != {when: f"{query} {set_digest(query, meant[when])}" for when, query in queries.items()}:
            return False
    return True


def parties_repeat(play):
    """Asked again, restarted parties give the last sum's shares; they open no other set, nor the attempt anew."""
    when, last = events(play, "opened")[-1]
    query = asked_at(play, when)
    words = np.zeros_like(scene.total(play.study, query, []))
    codes = set()
    for index, identity in enumerate(_identities(play)):
        with Once(play.folder / "parties" / str(index) / ANSWERS) as once:
            party = Party(index, Root.secret(), identity, once, lambda total: total)
            assert _say(party, Kind.PIN, **_pin(play)).kind is Kind.OK
            reply = _say(party, Kind.REVEAL, query=query.digest, sites=last["sites"])
            other = _say(party, Kind.REVEAL, query=query.digest, sites=last["sites"][1:])
            anew = _say(party, Kind.BEGIN, query=query.header())
        if reply.kind is not Kind.WORDS:
            return False
        codes |= {other.header["code"], anew.header["code"]}
        words += np.frombuffer(reply.body, words.dtype)
    return words.tolist() == last["words"] and codes == {"other-set", "opened-before"}


def _pin(play):
    terms = play.study.terms(make_plan(play.study, scene.NOISE))
    return {"study": play.study.digest, "run": scene.RUN, "terms": plain(terms), "roster": plain(play.study.keys)}


def _say(party, kind, **header):
    return party.answer(frames.encode(Frame(kind=kind, header=header)))


def complaints(play):
    """Return what roles wrote to standard error that no operator should see."""
    texts = {path.name: path.read_text() for path in play.folder.glob("*.err")}
    return {name: text for name, text in texts.items() if "Traceback" in text}
