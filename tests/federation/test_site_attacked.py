"""A coordinator that is a site's enemy: keys of its own, other terms, questions asked twice, restarts."""

from dataclasses import replace

import numpy as np
import pytest

from fedgenome.federation.wire import BUNDLE
from fedgenome.methods import registry
from fedgenome.query import Mechanism
from fedgenome.secure import bundle
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from tests.federation.small import PARTY_IDS, SITE_IDS, make_plan, make_study
from tests.federation.test_site import KEYS, ask, join, query_of, run_keys

STUDY = make_study()
PLAN = make_plan(STUDY)


def joined(agent, study=STUDY, **changes):
    site = agent(study, **changes)
    assert join(site, study).refusal is None
    return site


def code_of(answer):
    """The code an answer refuses with; None if it refuses nothing or holds arrays all the same."""
    return answer.refusal[0] if answer.refusal is not None and not answer.arrays else None


def impostors():
    return tuple(Identity.generate() for _ in PARTY_IDS)


BAD_KEYS = {
    "signed by the coordinator": lambda: run_keys(STUDY, PLAN, identities=impostors()),
    "one signed by the coordinator": lambda: run_keys(STUDY, PLAN, identities=(*PARTY_IDS[:2], impostors()[0])),
    "signed by each other": lambda: run_keys(STUDY, PLAN, identities=(PARTY_IDS[1], PARTY_IDS[0], PARTY_IDS[2])),
    "in another order": lambda: run_keys(STUDY, PLAN)[::-1],
    "all of one party": lambda: run_keys(STUDY, PLAN)[:1] * 3,
    "of another run": lambda: run_keys(STUDY, PLAN, run="run-2"),
    "of another study": lambda: run_keys(make_study(name="other"), PLAN),
    "of another quorum": lambda: run_keys(make_study(quorum=1), PLAN),
    "under another plan": lambda: run_keys(STUDY, make_plan(STUDY, noise=5.0)),
    "two": lambda: run_keys(STUDY, PLAN)[:2],
    "none": list,
    "with another key": lambda: [told | {"public": KEYS[0].public.to_bytes().hex()} for told in run_keys(STUDY, PLAN)],
}


@pytest.mark.parametrize("what", BAD_KEYS)
def test_keys_that_the_studys_parties_did_not_make_for_this_run_are_refused(agent, what):
    site = agent(STUDY)
    assert code_of(join(site, STUDY, keys=BAD_KEYS[what]())) == "bad-keys"
    assert code_of(ask(site, query_of(STUDY))) == "not-joined"
    assert join(site, STUDY).refusal is None


@pytest.mark.parametrize("keys", [None, 3, ["x"], [{}], [{"public": "00", "signature": "00"}], [{"public": 1}]])
def test_keys_that_are_none_are_malformed(agent, keys):
    from fedgenome.federation.wire import Call

    header = {"study": STUDY.model_dump(mode="json", by_alias=True), "plan": PLAN.model_dump(mode="json"), "run": "r"}
    assert code_of(agent(STUDY).handle("join", Call(header=header | {"keys": keys}))) == "malformed"


def test_study_that_names_another_key_for_the_site_is_refused(agent):
    other = {name: Identity.generate().public if name == "north" else one.public for name, one in SITE_IDS.items()}
    swapped = STUDY.with_keys(other, STUDY.parties)
    assert code_of(join(agent(STUDY), swapped)) == "other-study"
    assert code_of(join(agent(swapped), swapped)) == "other-roster"  # even where its operator pinned it


def test_study_without_keys_is_refused_where_sums_are_secure(agent):
    bare = STUDY.without_keys()
    assert code_of(join(agent(bare), bare, keys=run_keys(STUDY, PLAN))) == "other-roster"


def test_every_part_is_vouched_for_by_the_site_and_for_this_question_only(agent):
    query = query_of(STUDY)
    answer = ask(joined(agent), query).arrays
    *parts, stamp = (answer[name].tobytes() for name in BUNDLE)
    for party, part in enumerate(parts):
        bundle.check_stamp(query, "north", SITE_IDS["north"].public, party, part, stamp)
        with pytest.raises(ValueError, match="not signed"):
            bundle.check_stamp(replace(query, attempt=1), "north", SITE_IDS["north"].public, party, part, stamp)
    assert sum(map(len, (*parts, stamp))) <= 4 * query.question.length + 5000


def test_stored_bytes_are_sent_again_after_a_restart_and_nothing_else(agent, tmp_path):
    with Once(tmp_path / "kept") as once:
        first = ask(joined(agent, once=once), query_of(STUDY)).arrays
    with Once(tmp_path / "kept") as once:
        site = joined(agent, once=once)
        again = ask(site, query_of(STUDY)).arrays
        assert all(again[name].tobytes() == first[name].tobytes() for name in BUNDLE)
        assert code_of(ask(site, query_of(STUDY, payload={"edges": np.zeros(3)}))) == "asked-before"


def test_plain_answers_are_kept_too(agent, tmp_path):
    study = make_study(trust="none", secure="off")
    query, sums = query_of(study), []
    for _ in range(2):
        with Once(tmp_path / "kept") as once:
            sums.append(ask(joined(agent, study, once=once), query).arrays["sum"])
    assert sums[0].dtype == sums[1].dtype and (sums[0] == sums[1]).all()


def test_earlier_answers_than_the_last_are_not_given_again_nor_anew(agent, tmp_path):
    study = make_study(privacy={"trust": "distributed", "epsilon": 9.0, "delta": 1e-3, "retries": 1.0})
    with Once(tmp_path / "kept") as once:
        site = joined(agent, study, once=once)
        assert ask(site, query_of(study)).refusal is None
        assert ask(site, query_of(study, attempt=1)).refusal is None
        assert code_of(ask(site, query_of(study))) == "asked-before"
    with Once(tmp_path / "kept") as once:
        site = joined(agent, study, once=once)
        assert code_of(ask(site, query_of(study))) == "asked-before"
        assert ask(site, query_of(study, attempt=1)).refusal is None


CHANGES = {
    "sigma": {"mechanism": Mechanism(kind="gaussian", level=5.0, scope="marginals")},
    "C": {"bound": 7.0},
    "payload": {"payload": {"edges": np.zeros(3)}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_attempt_asked_otherwise_after_its_answer_is_refused(agent, what):
    site = joined(agent)
    ask(site, query_of(STUDY))
    assert code_of(ask(site, query_of(STUDY, **CHANGES[what]))) == "asked-before"


def test_nothing_leaves_that_could_not_be_kept(agent, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with Once(tmp_path / "kept") as once:
        site = joined(agent, once=once)
        monkeypatch.setattr("os.fdatasync", lambda file: full() if file == once._file else None)
        assert code_of(ask(site, query_of(STUDY))) == "invalid"


def gradient_query(study, precision):
    """Return the first gradient question of a study of one cvae, with this precision."""
    method = registry.build_all(study)["cvae"].at(8.0)
    question = method.ask(method.start(np.random.default_rng(0)) | {"step": np.array(1)})
    fields = ("payload", "length", "reply_length", "bound", "mechanism")
    same = {name: getattr(question, name) for name in fields}
    return query_of(study, step=1, noise=8.0, precision=precision, **same)


@pytest.mark.parametrize(("precision", "code"), [("float64", "bound"), ("float32", None), ("float32x128", None)])
def test_float32_sum_is_not_passed_off_as_a_better_one_that_costs_less(agent, precision, code):
    study = make_study(kind="cvae")
    site = agent(study)
    assert join(site, study, make_plan(study, 8.0)).refusal is None
    assert code_of(ask(site, gradient_query(study, precision))) == code
