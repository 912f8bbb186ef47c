"""DeepType by rounds: it learns classes, its first layer thins out, its centres are paid for or public."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.base import Classifier, Generator
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema

GENES = 20
SCHEMA = Schema(genes=tuple(f"g{i}" for i in range(GENES)), labels=("a", "b", "c"), low=-4.0, high=4.0, unit="donor")
DRAWS = DonorNormals(Root.simulation(3, "deeptype"), ("m", 0, 0))
OPTIONS = {"hidden": [16, 9], "rounds": 60, "rate": 0.02}


def people(n=150, seed=0):
    """Three classes, apart in the first six genes."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    x = rng.normal(size=(n, GENES)) * 0.7
    x[np.arange(n)[:, None], 2 * label[:, None] + [0, 1]] += 2.5
    return Shard(
        x=x.clip(-4, 4).astype(np.float32),
        label=label,
        donor=np.arange(n),
        donors=tuple(f"donor-{i}" for i in range(n)),
        mask=np.ones(n, bool),
    )


def build(trust="none", **options):
    spec = MethodSpec(kind="deeptype", options=OPTIONS | options)
    return registry.build(spec, SCHEMA, 150, trust != "none", trust=trust)


def trained(method, rows, most=1000):
    state = method.start(np.random.default_rng(1))
    while most and (question := method.ask(state)) is not None:
        state, most = method.learn(state, question, method.answer(question, rows, DRAWS).value), most - 1
    return state


def hidden_of(method, rows):
    """Return the last hidden layer at the weights that the method loaded last."""
    x = torch.from_numpy(rows.x / 4)  # the range is -4 to 4
    return method.model.hidden(x).detach().numpy()


@pytest.mark.parametrize("options", [{}, {"centres": "charged"}, {"normalise": "gene"}, {"joint": 0.0}])
def test_it_tells_separable_classes_of_people_it_never_saw(options):
    method = build(**options)
    arrays, new = method.release(trained(method, people())), people(seed=5)
    assert isinstance(method, Classifier) and not isinstance(method, Generator)
    assert (method.predict(arrays, new.x) == new.label).mean() > 0.9
    assert method.losses(arrays, new.x, new.label).mean() < 0.5 < np.log(3)


def test_penalty_thins_out_genes_that_say_nothing():
    method, plain = build(sparsity=2.5), build(sparsity=0.0)
    norms = [
        np.linalg.norm(m.release(trained(m, people()))["weights"][: 16 * GENES].reshape(16, GENES), axis=0)
        for m in (method, plain)
    ]
    telling = np.arange(GENES) < 6
    assert norms[0][~telling].mean() < 0.5 * norms[0][telling].mean()
    assert norms[0].min() == 0 < norms[1].min()
    assert (norms[0] < norms[1]).all()


def test_joint_phase_pulls_rows_to_the_centre_of_their_class():
    apart, rows = [], people()
    for joint in (0.0, 0.5):
        method = build(joint=joint)
        arrays = method.release(trained(method, rows))
        method.predict(arrays, rows.x[:1])  # loads the weights
        apart.append(np.square(hidden_of(method, rows) - arrays["centres"][rows.label]).sum(1).mean())
    assert apart[1] < 0.6 * apart[0]


def test_charged_centres_are_the_class_means_where_the_phases_meet():
    method, rows = build(centres="charged", joint=0.5), people()
    before = trained(method, rows, most=30)
    question = method.ask(before)
    assert set(question.payload) == {"weights"} and question.bound == pytest.approx(np.sqrt(1 + 1 / 4 + 1 / 16))
    after = method.learn(before, question, method.answer(question, rows, DRAWS).value)
    hidden = hidden_of(method, rows)
    right = [hidden[rows.label == k].mean(0) for k in range(3)]
    np.testing.assert_allclose(after["centres"], right, atol=0.02)  # mean direction times mean length
    assert float(method.ask(after).payload["pull"]) == np.float32(1.2)
    assert int(method.ask(after).payload["weights"].size) == method.parameters


def test_centres_and_scale_are_in_the_plan_and_public_ones_cost_nothing():
    asked = {"centres": "charged"}
    plans = [build("distributed", **o).plan(1.0) for o in ({}, asked, asked | {"normalise": "gene"})]
    assert [[m.count for m in plan] for plan in plans] == [[60], [1, 60], [1, 1, 60]]
    assert [m.count for m in build("distributed", joint=0.0, **asked).plan(1.0)] == [60]


def test_local_steps_train_at_home_and_are_refused_in_a_joint_sum():
    method = build("local", local_steps=3, rounds=4)
    assert [(m.count, m.where) for m in method.plan(1.0)] == [(12, "home")]
    with pytest.raises(SpecError, match=r"local_steps: expected trust 'local' or 'site'"):
        build("distributed", local_steps=3)
    with pytest.raises(SpecError, match=r"no prelude \(normalise\) with local_steps"):
        build("local", local_steps=3, normalise="gene")


@pytest.mark.parametrize("payload", [{}, {"centres": np.zeros((3, 9), np.float64)}, {"more": np.zeros(1, np.float32)}])
def test_other_payloads_are_refused(payload):
    method = build()
    question = method.ask(method.start(np.random.default_rng(0)))
    told = {"pull": question.payload["pull"], **payload} if not payload else {**question.payload, **payload}
    with pytest.raises(SpecError, match=f"payload of {method.parameters} float32 weights and more"):
        method.answer(replace(question, payload=told), people(9), DRAWS)
