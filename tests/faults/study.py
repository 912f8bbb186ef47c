"""The study that faults strike: three sites, three queries of one method each, sums that can be computed beforehand."""

import functools
import json

import numpy as np

from fedgenome.federation.coordinator import Job
from fedgenome.methods import registry
from fedgenome.privacy.coins import DonorNormals
from fedgenome.query import PARTIES, Query, choose_scale
from fedgenome.secure import noise, ring
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.streams import Root
from tests.federation.small import make_plan, make_shard, make_study

SITES = {"north": 20, "south": 31, "west": 12}  # donors
LABELS = ("one", "two", "three")
RUN, SEED, NOISE = "run-1", 7, 8.0


@functools.cache
def shard(site):
    return make_shard(SITES[site], first=100 * list(SITES).index(site))


def agreed(folder, trust, quorum):
    """Return the Study of the roles whose identities lie in ``folder``, made there if absent."""
    roster = [
        {"name": site, "cap": 40, "key": Identity.kept(folder / "sites" / site / IDENTITY).public} for site in SITES
    ]
    parties = [Identity.kept(folder / "parties" / str(index) / IDENTITY).public for index in range(PARTIES)]
    privacy = {"trust": trust, "retries": 1.0} | ({} if trust == "none" else {"epsilon": 9.0, "delta": 1e-3})
    methods = [{"kind": "marginals", "name": label} for label in LABELS]
    given = {"methods": methods, "roster": roster, "parties": parties, "privacy": privacy}
    return make_study(trust, quorum=quorum, donors_bound=100, **given)


def methods_of(study):
    private = study.privacy.trust != "none"
    return {m.label: registry.build(m, study.schema_, study.donors_bound, private).at(NOISE) for m in study.methods}


def job(study, folder, **more):
    given = {"study": study, "plan": make_plan(study, NOISE), "run": RUN, "methods": methods_of(study)}
    return Job(**given, folder=folder / "state", root=Root.of(SEED, "coordinator"), **more)


def query(study, label, attempt):
    """Return what an honest coordinator asks at this attempt."""
    method = methods_of(study)[label]
    question = method.ask(method.start(np.random.default_rng(0)))
    terms = study.terms(make_plan(study, NOISE))
    when = {"study": study.digest, "run": RUN, "method": label, "step": 0, "attempt": attempt}
    return Query(question=question, terms=terms, scale=choose_scale(question, terms), **when)


def moment(key):
    """Return (method, step, attempt) of a key of what was answered once."""
    run, *when = json.loads(key)
    assert run == RUN
    return tuple(when)


def total(study, asked, sites):
    """Return the words that the parties' shares of ``sites`` must add up to, the parties' noise included."""
    words = np.zeros(asked.question.length, ring.dtype_of(asked.width))
    when = (asked.method, asked.step, asked.attempt)
    method = methods_of(study)[asked.method]
    for site in sites:
        answer = method.answer(asked.question, shard(site), DonorNormals(Root.of(SEED, "site", site), when))
        words += ring.encode(answer.value, asked.scale, asked.width)
    for index in range(PARTIES):
        if asked.sigma_party:
            noise.sampler(asked.sigma_party).add_to(words, Root.of(SEED, "party", index).stream("noise", *when))
    return words


def learnt(study, label, words):
    """Return the state of a method that has learnt from these words."""
    method, asked = methods_of(study)[label], query(study, label, 0)
    start = method.start(Root.of(SEED, "coordinator").stream("start", label).generator())
    return method.learn(start, asked.question, ring.decode(words, asked.scale, asked.width))
