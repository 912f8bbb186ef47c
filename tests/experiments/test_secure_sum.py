"""What the benchmark of secure sums compares must itself add up."""

import subprocess
import sys

import numpy as np
import pytest

from experiments.benchmarks import _rivals as rivals
from experiments.benchmarks import secure_sum
from fedgenome.errors import SpecError
from fedgenome.query import Mechanism, Query, Question, Terms

HOG = "import sys; print(1, flush=True); input(); held = bytearray(b'x' * (64 << 20)); print(2, flush=True); input()"


@pytest.fixture
def query():
    mechanism = Mechanism(kind="gaussian", level=1.0)
    question = Question(payload={}, length=100, reply_length=100, bound=1.0, mechanism=mechanism)
    terms = Terms(caps=(("a", 5), ("b", 5)), colluders=1, quorum=2, roster="", plan="")
    return Query(question=question, study="", run="", method="sum", step=0, attempt=0, scale=2.0**14, terms=terms)


@pytest.mark.parametrize("sites", [2, 5])
def test_secagg_server_gives_the_mean_of_what_clients_masked(sites):
    flower, vectors = rivals.SecAgg(sites), [vector.astype(np.float32) for vector in rivals.vectors(1000)]
    sent = [flower.client(index, vectors[index])() for index in range(sites)]
    step = 2 * rivals.CLIP / rivals.TARGET_RANGE
    mean = flower.server(sent.__getitem__)
    np.testing.assert_allclose(mean, np.mean(vectors[:sites], axis=0), atol=step, rtol=0)
    garbled = flower.server(lambda index: sent[max(index, 1)])  # the first client's masks are missing
    assert np.abs(garbled - mean).max() > 1


def test_plain_sums_agree_with_and_without_copies():
    vectors = [vector.astype(np.float32) for vector in rivals.vectors(1000)]
    buffers = [np.empty_like(vectors[0]) for _ in range(2)]
    expected = 2 * np.sum(vectors, axis=0) + vectors[0] + vectors[1]
    for total in (rivals.plain(vectors, 12), rivals.plain_sent(vectors, 12, buffers)):
        np.testing.assert_allclose(total, expected, atol=1e-5)


def test_ckks_server_gives_the_sum():
    pytest.importorskip("tenseal", reason="TenSEAL is not installed")
    ckks, vectors = rivals.Ckks(), rivals.vectors(5000)
    total = ckks.open(ckks.server([ckks.site(vector) for vector in vectors]))
    np.testing.assert_allclose(total, np.sum(vectors, axis=0), atol=1e-4)


def test_check_allows_ten_deviations_of_noise_and_no_more(query):
    vectors = rivals.vectors(100)
    total, unit = vectors[0] + vectors[1], query.sigma_party * 3**0.5 / query.scale
    secure_sum.check(query, total + 9.9 * unit, 2, vectors)
    total[7] -= 10.1 * unit
    with pytest.raises(SpecError, match="the sum, but for its noise"):
        secure_sum.check(query, total, 2, vectors)


def test_roles_send_four_bytes_an_element_and_the_promised_rest(query):
    clock = secure_sum.Clock()
    sent = secure_sum.Roles(query, rivals.vectors(100)).measure(clock, 2)
    assert query.width == 32
    assert 4 * 100 < sent <= 4 * 100 + 5000
    assert min(clock.best(name) for name in ("site", "party", "noise")) > 0


def test_watch_sees_how_much_a_child_grew():
    watch = secure_sum.Watch()
    with subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        watch.rest()
        assert watch.peak() < 1 << 20
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        assert 60 << 20 < watch.peak() < 200 << 20  # twice while it is made
        child.stdin.write(b"\n")
        child.stdin.flush()


def test_table_counts_what_a_role_reads():
    clock, case = secure_sum.Clock(), secure_sum.Case(sites=5, elements=1000, rounds=3)
    for seconds in (0.3, 0.1, 0.2):
        clock.add("add", seconds)
    table = secure_sum.Table(case=case, scale=2.0**14, clock=clock, rows=[])
    table.add("add", "adds", 5, 4100)
    (row,) = table.rows
    assert (row["ms, best"], row["ms, median"], row["log2 s"]) == pytest.approx((100, 200, 14))
    assert (row["ns an element"], row["bytes an element"], row["peak MB"]) == (pytest.approx(4e4), 4.1, None)
