"""Secure selection on shares: three parties and a dealer, real processes, open the winner and nothing else."""

import math
import signal
import time

import numpy as np
import psutil
import pytest

from tests.secure.crew import Crew, scene, wait_for

# What the roles of every scene are given: shares of numbers that all could compute, and CrypTen on links.
COMMON = """
from pathlib import Path
import numpy as np
from fedgenome.secure import crypten_runtime, dealer, select
from fedgenome.secure.select import Selection
from tests.secure.crew import join

def share(values, rank, kind):
    rng = np.random.default_rng([int(value) % 2**32 for value in values[:20]])
    bits = 8 * np.dtype(kind).itemsize
    masks = [rng.integers(0, 2**bits, len(values), dtype=kind) for _ in range(2)]
    last = np.array(values, np.int64).view(np.uint64).astype(kind) - masks[0] - masks[1]
    return [*masks, last][rank]

def main(rank, told):
    with join(rank, told) as links:
        Path(told["folder"], f"{rank}.there").touch()
        if rank == 3:
            return dealer.serve(links)
        return play(links, crypten_runtime.bind(links), told)
"""
SELECT = (
    COMMON
    + """
def play(links, machine, told):
    found = []
    for job in told["jobs"]:
        selection = Selection(**job["asked"])
        words = share(job["scores"], links.rank, np.dtype(job["kind"]))
        found.append(select.run(selection, words, np.array(job["noise"][links.rank]), machine, job.get("set", "set")))
    return found
"""
)
COMPARE = (
    COMMON
    + """
def play(links, machine, told):
    rng = np.random.default_rng(told["seed"])
    left, right = (rng.integers(-(2**29), 2**29, told["n"]) for _ in range(2))
    right[::100] = left[::100]
    below = {}
    for name, lift in (("embedded", 32), ("zero-extended", 0)):
        mine, theirs = (share(v, links.rank, np.uint32).astype(np.uint64) << np.uint64(lift) for v in (left, right))
        below[name] = machine.reveal(machine.below(mine, theirs))
    return {name: [int((b != (left < right)).sum()), sorted(set(b.tolist()))] for name, b in below.items()}
"""
)
# How often each bit of what is opened on the way is 1, and whether torch's one generator moved.
WATCH = (
    COMMON
    + """
import torch

def play(links, machine, told):
    crypten = crypten_runtime.load()
    talk, opened = crypten.communicator.get(), []
    reduce = talk.all_reduce
    def watched(*args, **kwargs):
        result = reduce(*args, **kwargs)
        opened.extend(result if isinstance(result, list) else [result])
        return result
    talk.all_reduce = watched
    scores = np.array(told["scores"])
    asked = Selection(scores=len(scores), winners=1, epsilon=1.0, sensitivity=1, units=1000)
    states = [torch.default_generator.get_state()]
    words = share(scores, links.rank, np.uint64)
    winners = select.run(asked, words, np.zeros((1, len(scores)), np.int64), machine, "set")
    states.append(torch.default_generator.get_state())
    torch.ops.aten.rand([1])
    states.append(torch.default_generator.get_state())
    moved = [not torch.equal(before, after) for before, after in zip(states, states[1:])]
    words = np.concatenate([t.flatten().numpy().view(np.uint64) for t in opened if t.numel() >= 64 and t.max() > 1])
    bits = np.concatenate([t.flatten().numpy() for t in opened if t.numel() >= 64 and t.max() <= 1])
    ones = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(-1, 64).sum(0).tolist()
    return {"winners": winners, "words": [words.size, ones], "bits": [bits.size, int(bits.sum())], "moved": moved}
"""
)
REST = (
    COMMON
    + """
import torch
from fedgenome.errors import SpecError

def refused(call, *args):
    try:
        call(*args)
    except SpecError as fault:
        return str(fault)
    return None

def play(links, machine, told):
    crypten = crypten_runtime.load()
    talk, rank = crypten.communicator.get(), links.rank
    mine = torch.tensor([[1, 2], [3, 1 << 40]]) * (rank + 1)
    all_ = [(torch.tensor([[1, 2], [3, 1 << 40]]) * (r + 1)).tolist() for r in range(3)]
    gathered = talk.gather(mine, 1)
    crypten.cfg.mpc.provider = "TFP"
    right = {
        "gather": gathered == [None] if rank != 1 else [t.tolist() for t in gathered] == all_,
        "all_gather": [t.tolist() for t in talk.all_gather(mine)] == all_,
        "broadcast": talk.broadcast(mine, 2).tolist() == all_[2],
        "sum": talk.all_reduce(mine).tolist() == np.sum(all_, 0).tolist(),
        "sums": [t.tolist() for t in talk.all_reduce([mine, mine[0]], batched=True)] ==
                [np.sum(all_, 0).tolist(), np.sum(all_, 0)[0].tolist()],
        "xor": talk.all_reduce(mine, op=torch.distributed.ReduceOp.BXOR).tolist() ==
               np.bitwise_xor.reduce(all_).tolist(),
        "transposed": talk.all_reduce(mine.T).tolist() == np.sum(all_, 0).T.tolist(),
        "barrier": talk.barrier() is None,
        "initialised": crypten.is_initialized() and talk.get_world_size() == 3,
        "threads": torch.get_num_threads() == 1,
    }
    tuples = crypten.mpc.primitives.ArithmeticSharedTensor.from_shares(mine, precision=0)
    return right, {
        "pickle": refused(talk.send_obj, {}, 0),
        "provider": refused(lambda: tuples * tuples),
        "operation": refused(talk.all_reduce, mine, torch.distributed.ReduceOp.MAX),
        "type": refused(talk.all_gather, mine.float()),
        "square": refused(lambda: tuples.square()),
    }
"""
)


@pytest.fixture(scope="module")
def crew():
    with Crew("fedgenome.secure.crypten_runtime:load") as crew:
        yield crew
        assert psutil.Process(crew.process.pid).children(recursive=True) == []


def agreed(played):
    """Return what all three parties returned."""
    assert played[0] == played[1] == played[2]
    return played[0]


def job(scores, kind, winners=1, noise=None, **more):
    scores = [int(score) for score in scores]
    asked = {"scores": len(scores), "winners": winners, "epsilon": 1.0, "sensitivity": 1, "units": 1000}
    none = np.zeros((3, winners, len(scores)), int).tolist()
    return {"scores": scores, "kind": kind, "asked": asked, "noise": none if noise is None else noise.tolist()} | more


@pytest.mark.parametrize("kind", ["uint32", "uint64"])
def test_parties_open_the_plain_argmax(crew, tmp_path, kind):
    rng = np.random.default_rng(3)
    edge = 2**29 if kind == "uint32" else 2**61
    many = [rng.integers(-edge, edge, size) for size in (1, 2, 3, 5, 64, 1000, 1001)]
    tied = [rng.integers(0, 2, size) for size in (2, 3, 7, 100)] + [np.zeros(33, int)]
    jobs = [job(scores, kind) for scores in many + tied]
    found = agreed(crew.play(tmp_path, SELECT, scene(tmp_path, jobs=jobs)))
    assert found == [[int(np.argmax(scores))] for scores in many + tied]


@pytest.mark.parametrize("kind", ["uint32", "uint64"])
def test_every_party_s_noise_counts_and_each_winner_has_its_own(crew, tmp_path, kind):
    rng = np.random.default_rng(4)
    scores, noise = rng.integers(-9, 9, 20), rng.integers(0, 30, (3, 3, 20))
    expected, left = [], list(range(20))
    for row in noise.sum(0):
        expected.append(max(left, key=lambda i: (scores[i] + row[i], -i)))
        left.remove(expected[-1])
    again = [job(scores, kind, 3, noise)] * 2  # after a crash, with the stored noise
    found = agreed(crew.play(tmp_path, SELECT, scene(tmp_path, jobs=again)))
    assert found == [expected, expected]
    assert expected != sorted(range(20), key=lambda i: (-scores[i], i))[:3]


def test_comparisons_of_embedded_32_bit_shares_are_right_and_of_others_random(crew, tmp_path):
    n = 100_000
    found = agreed(crew.play(tmp_path, COMPARE, scene(tmp_path, n=n, seed=1)))
    assert found["embedded"] == [0, [0, 1]]
    assert found["zero-extended"][0] > n / 5


def test_nothing_but_the_index_is_opened_and_torch_draws_nothing(crew, tmp_path):
    # Two groups of equal scores: were anything unmasked opened, most bits would be constant. Each of 64 + 1
    # counts is within 5 standard deviations of half: false alarm 4e-5.
    scores = [0, 5] * 2000
    played = crew.play(tmp_path, WATCH, scene(tmp_path, scores=scores))
    for rank in range(3):
        seen = played[rank]
        assert seen["winners"] == [1]
        (n_words, ones), (n_bits, sum_) = seen["words"], seen["bits"]
        assert n_words > 28 * 3900
        assert n_bits > 3800
        assert max(abs(one - n_words / 2) for one in ones) < 5 * math.sqrt(n_words / 4)
        assert abs(sum_ - n_bits / 2) < 5 * math.sqrt(n_bits / 4)
        assert seen["moved"] == [False, True]  # the second is the probe's own draw, which shows that it looks


def test_communicator_does_what_crypten_asks_and_refuses_the_rest(crew, tmp_path):
    played = crew.play(tmp_path, REST, scene(tmp_path))
    for right, refused in [played[rank] for rank in range(3)]:
        assert right == dict.fromkeys(right, True)
        assert "pickle is refused" in refused["pickle"]
        assert "expected tuples of the dealer, a party of its own, got provider='TFP'" in refused["provider"]
        assert "expected tuples of the dealer" in refused["square"]
        assert "expected a sum or XOR" in refused["operation"]
        assert "expected int64 tensors" in refused["type"]


def test_parties_told_different_sets_compute_nothing(crew, tmp_path):
    told = scene(tmp_path, jobs=[job([1, 2], "uint64")])
    source = SELECT.replace('job.get("set", "set")', 'f"set {links.rank == 1}"')
    crew.start(tmp_path, source, told)
    ended = crew.finish()
    assert ended[0]["error"] == "Refused: other-set: party-0 and party-1 were told the same"
    assert "Refused: other-set" in ended[1]["error"]
    assert "Refused: other-set" in ended[2]["error"]


@pytest.mark.parametrize("victim", [1, 3])
@pytest.mark.parametrize(("how", "timeout"), [(signal.SIGKILL, 20.0), (signal.SIGSTOP, 1.0)])
def test_role_that_dies_or_stops_in_the_midst_ends_the_selection(crew, tmp_path, victim, how, timeout):
    jobs = [job(range(2000), "uint64")] * 200
    crew.start(tmp_path, SELECT, scene(tmp_path, timeout, jobs=jobs))
    wait_for([tmp_path / f"{rank}.there" for rank in range(4)])
    time.sleep(0.5)
    others = [rank for rank in range(3) if rank != victim]
    ended, took = crew.strike(victim, how, others)
    assert all(ended[rank]["error"].startswith("RoleError: ") for rank in others)
    assert took < (5.0 if how is signal.SIGKILL else timeout + 5.0)
