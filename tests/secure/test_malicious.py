"""A coordinator that is everybody's enemy: whatever it does to parties is refused or gives it nothing."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedgenome.query import PARTIES, Roster
from fedgenome.secure import bundle, frames, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.identity import Identity
from tests.secure import roles
from tests.secure.roles import (
    NOISE,
    PARTY_IDS,
    ROSTER,
    SITE_IDS,
    SITES,
    TERMS,
    a_light_party,
    a_query,
    answer_of,
    begin,
    begun,
    code_of,
    deliver,
    give,
    parts_of,
    pinned,
    plain,
    reveal,
    tell,
    words_of,
)

QUERY = a_query(mechanism=NOISE)


# ── bundles ──────────────────────────────────────────────────────────────────────────────────────


def met(party, query, site, answer):
    """What an answer meets at this party: the refusal's code, or "counted" if any of it reached the sum."""
    one = begun(query, party)
    code = code_of(give(one, site, answer[party], answer[-1]))
    return "counted" if one._open.total.any() or one._open.delivered else code


TOLD_OTHERWISE = {
    "another step": a_query(step=1, mechanism=NOISE),
    "another attempt": replace(QUERY, attempt=1),
    "another run": replace(QUERY, run="q"),
    "another method": replace(QUERY, method="n"),
    "another study": replace(QUERY, study="t"),
    "sigma": a_query(mechanism=replace(NOISE, level=2.0)),
    "no noise": a_query(),
    "s": replace(QUERY, scale=QUERY.scale / 2),
    "C": a_query(mechanism=NOISE, bound=2.0),
    "payload": replace(QUERY, payload_digest="0" * 64),
    "t": a_query(mechanism=NOISE, terms=replace(TERMS, colluders=0)),
    "quorum": a_query(mechanism=NOISE, terms=replace(TERMS, quorum=1)),
    "D": a_query(mechanism=NOISE, terms=replace(TERMS, caps=tuple((site, 90) for site in SITES))),
    "plan": a_query(mechanism=NOISE, terms=replace(TERMS, plan="q")),
    "roster": a_query(mechanism=NOISE, terms=replace(TERMS, roster="0" * 64)),
}


@pytest.mark.parametrize("party", range(PARTIES))
@pytest.mark.parametrize("what", TOLD_OTHERWISE)
def test_answer_to_what_a_site_was_told_otherwise_does_not_count_here(what, party):
    assert met(party, QUERY, "a", answer_of(TOLD_OTHERWISE[what], "a")) == "bad-stamp"


@pytest.mark.parametrize("party", range(PARTIES))
def test_payloads_swapped_between_sites_or_parties_are_refused(party):
    a, b = answer_of(QUERY, "a"), answer_of(QUERY, "b")
    assert met(party, QUERY, "a", b) == "bad-stamp"
    assert met(party, QUERY, "a", (*b[:3], a[-1])) == "bad-stamp"
    assert met(party, QUERY, "a", (*a[:3], b[-1])) == "bad-stamp"
    assert met(party, QUERY, "a", (a[1], a[2], a[0], a[-1])) == "bad-stamp"


def in_chunk(place, part):
    """Whether the byte is one of a chunk, not of header, sealed secret or tag: the stamp is for the tag."""
    return 14 + 1168 <= place < len(part) - 16


@pytest.mark.parametrize("party", range(PARTIES))
def test_ciphertext_altered_anywhere_is_refused(party):
    *parts, stamp = answer_of(QUERY, "a")
    one = begun(QUERY, party)
    for place in range(0, len(parts[party]), 7):
        altered = bytearray(parts[party])
        altered[place] ^= 1 << place % 8
        refused = "bad-part" if in_chunk(place, altered) else "bad-stamp"
        assert code_of(give(one, "a", bytes(altered), stamp)) == refused
    assert not one._open.total.any() and deliver(one, QUERY, "a", party).kind is Kind.OK


@pytest.mark.parametrize("place", range(bundle.STAMP.size))
def test_stamp_altered_in_any_byte_is_refused(place):
    answer = answer_of(QUERY, "a")
    stamp = bytearray(answer[-1])
    stamp[place] ^= 1 << place % 8
    assert met(0, QUERY, "a", (*answer[:3], bytes(stamp))) == "bad-stamp"


EDITS = {
    "nothing": lambda blob: b"",
    "half": lambda blob: blob[: len(blob) // 2],
    "a byte short": lambda blob: blob[:-1],
    "a byte long": lambda blob: blob + b"\0",
    "twice": lambda blob: blob * 2,
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("party", range(PARTIES))
def test_parts_and_stamps_cut_or_extended_are_refused(edit, party):
    *parts, stamp = answer_of(QUERY, "a")
    # A stamp is for the tags, not for the length: twice the vector ends in the same one.
    refused = "bad-part" if (edit, party) == ("twice", 0) else "bad-stamp"
    assert met(party, QUERY, "a", (*map(EDITS[edit], parts), stamp)) == refused
    assert met(party, QUERY, "a", (*parts, EDITS[edit](stamp))) == "bad-stamp"


def signed_by(identity, query, site):
    parts = parts_of(query, site)
    return (*parts, bundle.sign(query, site, parts, identity))


def test_site_cannot_be_impersonated_by_the_coordinator_another_site_or_a_party():
    for impostor in (Identity.generate(), SITE_IDS["b"], PARTY_IDS[0]):
        assert met(0, QUERY, "a", signed_by(impostor, QUERY, "a")) == "bad-stamp"
    assert give(begun(QUERY), "a", *signed_by(SITE_IDS["a"], QUERY, "a")[:4:3]).kind is Kind.OK


def test_signature_over_another_kind_of_thing_does_not_count():
    *parts, _ = answer_of(QUERY, "a")
    with pytest.MonkeyPatch.context() as patch:
        sign = Identity.sign
        patch.setattr(Identity, "sign", lambda self, kind, values: sign(self, "party key", values))
        stamp = bundle.sign(QUERY, "a", parts, SITE_IDS["a"])
    assert met(0, QUERY, "a", (*parts, stamp)) == "bad-stamp"


def test_part_sealed_to_a_key_of_the_coordinators_own_opens_nothing():
    publics = tuple(roles.PartyKey.generate().public for _ in range(PARTIES))
    parts = parts_of(QUERY, "a", publics=publics)
    stamp = bundle.sign(QUERY, "a", parts, SITE_IDS["a"])
    for party in range(PARTIES):
        assert met(party, QUERY, "a", (*parts, stamp)) == "bad-part"


# ── rosters and quorum ───────────────────────────────────────────────────────────────────────────


def changed(**sites):
    """Return the roster with other keys for some sites."""
    return Roster(sites=tuple((n, c, sites.get(n, k)) for n, c, k in ROSTER.sites), parties=ROSTER.parties)


def pin_under(roster, **terms):
    given = replace(TERMS, roster=roster.digest, caps=roster.caps)
    return pinned(a_light_party(), replace(given, **terms), roster=roster)


def test_roster_with_a_swapped_key_counts_for_no_answer_of_the_sites():
    swapped = changed(a=Identity.generate().public)
    assert code_of(pinned(a_light_party(), TERMS, roster=swapped)) == "other-roster"
    one = a_light_party()
    terms = replace(TERMS, roster=swapped.digest)
    assert pinned(one, terms, roster=swapped).kind is Kind.OK
    query = a_query(mechanism=NOISE, terms=terms)
    begin(one, query)
    for site in SITES:  # they signed under the roster that they pinned
        assert code_of(deliver(one, QUERY, site)) == "bad-stamp"


def test_roster_in_which_one_key_has_two_names_is_refused():
    assert code_of(pin_under(changed(b=SITE_IDS["a"].public))) == "malformed"
    assert code_of(pin_under(changed(b=PARTY_IDS[1].public))) == "malformed"
    twice = Roster(sites=ROSTER.sites, parties=[PARTY_IDS[0].public] * PARTIES)
    assert code_of(pin_under(twice)) == "malformed"


def test_roster_without_keys_or_with_other_parties_is_refused():
    assert code_of(pin_under(changed(a=""))) == "malformed"
    assert code_of(pin_under(Roster(sites=ROSTER.sites, parties=[]))) == "malformed"
    others = Roster(sites=ROSTER.sites, parties=[PARTY_IDS[1].public, PARTY_IDS[0].public, PARTY_IDS[2].public])
    assert code_of(pin_under(others)) == "other-roster"


def test_quorum_is_of_distinct_sites_and_never_less_than_the_sites_signed():
    one = begun(QUERY, sites="a")
    assert code_of(deliver(one, QUERY, "a")) == "delivered-before"
    for sites in (["a"], ["a", "a"], []):
        assert code_of(reveal(one, QUERY, sites)) in ("below-quorum", "other-set")
    lone = replace(TERMS, quorum=1)  # a party that is told quorum 1 …
    party = a_light_party()
    assert pinned(party, lone).kind is Kind.OK
    begin(party, a_query(mechanism=NOISE, terms=lone))
    assert code_of(deliver(party, QUERY, "a")) == "bad-stamp"  # … takes no answer of sites that were told 2


# ── sets ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def born(tmp_path):
    """Build parties over one folder each; building one again is its restart."""
    living = {}

    def build(index=0):
        if index in living:
            living[index]._once.close()
        living[index] = roles.a_party(tmp_path, index)
        return living[index]

    yield build
    for one in living.values():
        one._once.close()


def test_second_sum_without_one_site_is_refused_also_after_a_restart(born):
    one = begun(QUERY, sites="abc", make=born)
    first = reveal(one, QUERY, ["a", "b", "c"])
    for restarted in (False, True):
        party = born() if restarted else one
        pinned(party)
        assert code_of(begin(party, QUERY)) == "opened-before"
        assert code_of(begin(party, replace(QUERY, payload_digest="1" * 64))) == "opened-before"
        assert code_of(reveal(party, QUERY, ["a", "b"])) == "other-set"
        assert bytes(reveal(party, QUERY, ["a", "b", "c"]).body) == bytes(first.body)


def test_party_that_died_after_its_share_left_gives_the_same_bytes_and_draws_no_new_noise(born):
    one = begun(QUERY, 2, "ab", make=born)
    first = reveal(one, QUERY, ["a", "b"])
    again = born(2)
    assert pinned(again).kind is Kind.OK
    reply = reveal(again, QUERY, ["a", "b"])
    assert (reply.header, bytes(reply.body)) == (first.header, bytes(first.body))
    assert code_of(begin(again, QUERY)) == "opened-before"


def test_noise_is_fresh_in_every_attempt(born):
    one = begun(QUERY, sites="ab", make=born)
    first = words_of(reveal(one, QUERY, ["a", "b"]), QUERY)
    retry = replace(QUERY, attempt=1)
    assert begin(one, retry).kind is Kind.OK
    for site in "ab":
        assert code_of(deliver(one, QUERY, site)) == "bad-stamp"  # the old sample is never noised again
        assert deliver(one, retry, site).kind is Kind.OK
    assert (words_of(reveal(one, retry, ["a", "b"]), retry) != first).any()


def test_party_that_dies_before_its_answer_is_kept_has_told_nothing_and_may_open_once(born, monkeypatch):
    one = begun(QUERY, sites="ab", make=born)
    monkeypatch.setattr(type(one._once), "record", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        reveal(one, QUERY, ["a", "b"])
    assert code_of(begin(one, QUERY)) == "opened-before"
    monkeypatch.undo()
    again = begun(QUERY, sites="abc", make=born)
    assert reveal(again, QUERY, ["a", "b", "c"]).kind is Kind.WORDS


def test_answers_before_the_last_are_spent_for_ever(born):
    one = begun(QUERY, sites="ab", make=born)
    reveal(one, QUERY, ["a", "b"])
    later = a_query(step=1)
    begin(one, later)
    for site in "ab":
        deliver(one, later, site)
    reveal(one, later, ["a", "b"])
    again = born()
    pinned(again)
    assert code_of(reveal(again, QUERY, ["a", "b"])) == "no-query"
    assert code_of(begin(again, QUERY)) == "opened-before"
    assert reveal(again, later, ["a", "b"]).kind is Kind.WORDS


def opened_with(sets, query):
    """Return the words of the sum of the three parties' shares, each over its own set of sites."""
    trio = [begun(query, index, sites) for index, sites in enumerate(sets)]
    replies = [reveal(one, query, sorted(sites)) for one, sites in zip(trio, sets, strict=True)]
    return sum(words_of(reply, query) for reply in replies), {reply.header["set"] for reply in replies}


def uniform_p(words):
    """Least p-value of two chi-square tests of uniformity: of the lowest and of the highest byte."""
    octets = words.view(np.uint8).reshape(-1, words.itemsize)
    counts = [np.bincount(octets[:, place], minlength=256) for place in (0, -1)]
    return min(stats.chisquare(count).pvalue for count in counts)


@pytest.mark.parametrize("odd", range(PARTIES))
@pytest.mark.parametrize(("most", "other"), [("abc", "ab"), ("ab", "abc"), ("ab", "bc")])
def test_parties_that_open_different_sets_give_uniform_garbage(odd, most, other):
    # 20,000 words: 78 a cell. The masks are fresh: two tests × nine cases fail by chance once in 5,500 runs.
    query = a_query(length=20_000)
    sets = [other if index == odd else most for index in range(PARTIES)]
    garbage, digests = opened_with(sets, query)
    assert uniform_p(garbage) > 1e-5 and len(digests) == 2  # and the coordinator is told that the sets differ
    assert uniform_p(garbage - garbage.dtype.type(len(most))) > 1e-5
    whole, digests = opened_with([most] * PARTIES, query)
    assert uniform_p(whole) < 1e-12 and (whole == len(most)).all() and len(digests) == 1


def test_different_sets_at_all_three_parties_give_uniform_garbage():
    assert uniform_p(opened_with(["ab", "bc", "ac"], a_query(length=20_000))[0]) > 1e-5


# ── messages ─────────────────────────────────────────────────────────────────────────────────────

MESSAGES = {
    "HELLO": lambda one: tell(one, Kind.HELLO),
    "PIN": pinned,
    "BEGIN": lambda one: begin(one, QUERY),
    "PART a": lambda one: deliver(one, QUERY, "a"),
    "PART b": lambda one: deliver(one, QUERY, "b"),
    "REVEAL": lambda one: reveal(one, QUERY, ["a", "b"]),
    "ABORT": lambda one: tell(one, Kind.ABORT),
}


class Expected:
    """What a party must answer, written down a second time, as plainly as can be."""

    def __init__(self):
        self.pinned, self.open, self.spent = False, None, False

    def code(self, name):
        word, _, site = name.partition(" ")
        return getattr(self, word.lower())(site) or "fine"

    def hello(self, _):
        return None

    def pin(self, _):
        self.pinned = True

    def begin(self, _):
        wrong = [(not self.pinned, "not-pinned"), (self.open is not None, "query-open"), (self.spent, "opened-before")]
        code = next((code for bad, code in wrong if bad), None)
        self.open = self.open if code else set()
        return code

    def part(self, site):
        if self.open is None:
            return "no-query"
        if site in self.open:
            return "delivered-before"
        return self.open.add(site)

    def reveal(self, _):
        if not self.pinned:
            return "not-pinned"
        if self.open is None:
            return None if self.spent else "no-query"
        if self.open != {"a", "b"}:
            return "other-set"
        self.open, self.spent = None, True
        return None

    def abort(self, _):
        self.open = None


def orders():
    yield from itertools.product(MESSAGES, repeat=3)
    ready = ("PIN", "BEGIN", "PART a")
    for rest in itertools.product(("BEGIN", "PART a", "PART b", "REVEAL", "ABORT"), repeat=4):
        yield ready + rest


def test_every_order_of_messages_gets_the_code_it_should():
    for order in orders():
        one, expected, shares = a_light_party(), Expected(), set()
        for name in order:
            reply = MESSAGES[name](one)
            code = code_of(reply) if reply.kind is Kind.REFUSED else "fine"
            assert code == expected.code(name), order
            shares |= {bytes(reply.body)} if reply.kind is Kind.WORDS else set()
        assert len(shares) <= 1, order


def test_closing_erases_the_key_so_that_what_was_sealed_opens_for_nobody():
    one = begun(QUERY)
    assert tell(one, Kind.CLOSE).kind is Kind.OK
    assert one._key is None and one.closed
    assert code_of(deliver(one, QUERY, "a")) == "no-query"


def encoded(kind, body=b"", **header):
    return frames.encode(Frame(kind=kind, header=header, body=body))


def valid_messages(query=QUERY):
    """Return messages of every kind that an open query with two sites could get next."""
    parts = {site: answer_of(query, site) for site in SITES}
    return [
        encoded(Kind.HELLO),
        encoded(Kind.PIN, study="s", run="r", terms=plain(TERMS), roster=plain(ROSTER)),
        encoded(Kind.BEGIN, query=query.header()),
        *(encoded(Kind.PART, answer[0], site=site, stamp=answer[-1].hex()) for site, answer in parts.items()),
        encoded(Kind.REVEAL, query=query.digest, sites=["a", "b"]),
        encoded(Kind.ABORT),
        encoded(Kind.CLOSE),
    ]


def mutated(message, rng):
    """Return the message with bytes flipped, cut, repeated, inserted or taken from another place of it."""
    out, place = bytearray(message), int(rng.integers(len(message)))
    match rng.integers(5):
        case 0:
            for _ in range(rng.integers(1, 4)):
                out[rng.integers(len(out))] ^= 1 << rng.integers(8)
        case 1:
            del out[place:]
        case 2:
            out[place:place] = rng.bytes(int(rng.integers(1, 20)))
        case 3:
            del out[place : place + int(rng.integers(1, 20))]
        case 4:
            out[place : place + 8] = out[: min(8, len(out) - place)]
    return bytes(out)


def test_ten_thousand_mutated_messages_crash_no_party_and_open_no_sum():
    rng, valid, one = np.random.default_rng(20261121), valid_messages(), begun(QUERY, sites="ab")
    known, refused = set(valid), 0
    for number in range(10_000):
        message = mutated(valid[number % len(valid)], rng)
        if message in known:
            continue
        reply = one.answer(message)
        refused += reply.kind is Kind.REFUSED
        assert reply.kind in (Kind.REFUSED, Kind.OK) and (reply.kind is Kind.REFUSED or len(message) < 40)
        if one.closed or one._open is None:  # a flipped bit made an ABORT or CLOSE of another empty message
            one = begun(QUERY, sites="ab")
    assert refused > 9_000
    assert reveal(one, QUERY, ["a", "b"]).kind is Kind.WORDS


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["study", "run", "terms", "roster", "query", "site", "stamp", "sites"])


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(list(Kind)), header=st.dictionaries(KEYS, VALUES, max_size=4), replacing=KEYS, value=VALUES)
def test_any_header_is_answered_and_opens_nothing(kind, header, replacing, value):
    one = begun(QUERY, sites="ab")
    assert one.answer(frames.encode(Frame(kind=kind, header=header))).kind in (Kind.OK, Kind.REFUSED)
    for message in map(frames.decode, valid_messages()):
        twisted = dict(message.header) | {replacing: value}
        reply = one.answer(frames.encode(Frame(kind=message.kind, header=twisted, body=message.body)))
        same = twisted == dict(message.header) or message.kind in (Kind.ABORT, Kind.CLOSE, Kind.HELLO)
        assert same or reply.kind is Kind.REFUSED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(list(Kind)), st.booleans())
def test_arbitrary_bytes_are_answered_and_open_nothing(noise, kind, framed):
    head = frames.HEAD.pack(frames.MAGIC, frames.VERSION, kind, 2, len(noise)) + b"{}" if framed else b""
    one = begun(QUERY, sites="ab")
    assert one.answer(head + noise).kind in (Kind.OK, Kind.REFUSED)


def test_sum_of_an_honest_run_is_exact_for_comparison():
    words, _ = opened_with(["abc"] * PARTIES, a_query())
    assert (ring.signed(words) == 3).all()
