"""A sample of nobody is answered, charged and sealed like any other: who is silent would tell that it was empty."""

import numpy as np

from fedgenome.errors import Refused
from fedgenome.federation.site import SiteAgent
from fedgenome.methods import registry
from fedgenome.privacy.coins import chosen
from fedgenome.query import Query, choose_scale
from fedgenome.streams import Root
from tests.federation.small import make_plan, make_shard, make_study
from tests.federation.test_site import ask, join

STUDY = make_study(kind="cvae")
SEED = 7  # at which the site's one donor is in some of four samples and out of others


def rounds():
    """Return the four gradient queries of the study's plan."""
    method = registry.build(STUDY.methods[0], STUDY.schema_, STUDY.donors_bound, True).at(4.0)
    question = method.ask(method.start(np.random.default_rng(0)) | {"step": np.array(1)})
    terms = STUDY.terms(make_plan(STUDY))
    named = {"study": STUDY.digest, "run": "run-1", "method": "cvae", "attempt": 0, "terms": terms}
    return [Query(question=question, step=k, scale=choose_scale(question, terms), **named) for k in range(1, 5)]


def sampled(query):
    root, donors = Root.of(SEED, "site", "north"), make_shard(1).donors
    return bool(chosen(root, (query.method, query.step, query.attempt), donors, 0.5).any())


def answered(site):
    """Return whether each round was answered, and with how many bytes."""
    join(site, STUDY)
    answers = [ask(site, query) for query in rounds()]
    return [sum(array.nbytes for array in answer.arrays.values()) if not answer.refusal else 0 for answer in answers]


class SkipsEmpty(SiteAgent):
    """The broken twin: nobody sampled, nothing sent."""

    def _contribution(self, query, run):
        if not sampled(query):
            raise Refused("empty", "nobody was sampled")
        return super()._contribution(query, run)


def test_empty_samples_are_answered_with_as_many_bytes_as_others(agent):
    assert {sampled(query) for query in rounds()} == {True, False}
    assert len(set(answered(agent(STUDY, donors=1, seed=SEED)))) == 1


def test_site_that_skips_empty_samples_is_rejected_by_the_same_check(agent):
    site = agent(STUDY, donors=1, seed=SEED)
    site.__class__ = SkipsEmpty
    assert len(set(answered(site))) == 2
