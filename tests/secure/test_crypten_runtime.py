"""CrypTen holds a party's share and gives the same words back; three processes agree on what they share."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.secure import crypten_runtime
from fedgenome.secure.crypten_runtime import unwrap, wrap

MEMBER = """
import json, sys
import numpy as np
from fedgenome.secure import crypten_runtime as runtime
rank, rendezvous, shares = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
runtime.start(rank, 3, rendezvous, 60.0)
import torch
opened = {}
for width, kind in ((32, np.uint32), (64, np.uint64)):
    tensor = runtime.wrap(np.array(shares[str(width)], kind))
    opened[width] = tensor.reveal().tolist()
    assert (runtime.unwrap(tensor, width) == np.array(shares[str(width)], kind)).all()
print(json.dumps([opened, torch.get_num_threads()]))
runtime.stop()
"""


@pytest.mark.parametrize(("kind", "width"), [(np.uint32, 32), (np.uint64, 64)])
@given(data=st.data())
def test_words_come_back_as_they_were(kind, width, data):
    words = data.draw(hnp.arrays(kind, st.integers(1, 30)))
    back = unwrap(wrap(words.copy()), width)
    assert back.dtype == kind
    assert (back == words).all()


def test_short_words_stand_in_the_upper_half():
    tensor = wrap(np.array([1, 2**31], np.uint32))
    assert tensor.share.tolist() == [2**32, -(2**63)]
    assert tensor.encoder._scale == 1


def test_three_members_share_exactly_the_signed_sum(tmp_path):
    rng = np.random.default_rng(5)
    values = {32: [-5, 2**29, 0], 64: [-(2**61) - 1, 2**40 + 12345, 7]}
    shares = [{}, {}, {}]
    for width, exact in values.items():
        masks = rng.integers(0, 2**width, (2, 3), np.uint64, endpoint=False).astype(object) if width == 32 else None
        masks = rng.integers(0, 2**64 - 1, (2, 3), np.uint64, endpoint=True).astype(object) if masks is None else masks
        last = (np.array(exact, object) - masks.sum(0)) % 2**width
        for share, words in zip(shares, (*masks, last), strict=True):
            share[str(width)] = words.tolist()
    opened = joined(tmp_path, shares)
    assert [value >> 32 for value in opened["32"]] == values[32]
    assert opened["64"] == values[64]


def joined(folder, shares):
    """Run three members and return what all of them opened."""
    members = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(rank), f"file://{folder}/rendezvous", json.dumps(shares[rank])],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    told = [json.loads(member.communicate(timeout=90)[0].splitlines()[-1]) for member in members]
    assert [member.returncode for member in members] == [0, 0, 0]
    assert told[0] == told[1] == told[2]
    opened, threads = told[0]
    assert threads == 1
    return opened


def test_waiting_for_absent_members_ends_in_time(tmp_path):
    code = f"from fedgenome.secure import crypten_runtime as r; r.start(0, 3, 'file://{tmp_path}/rendezvous', 1.0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "timeout" in done.stderr.lower() or "timed out" in done.stderr.lower()


def test_stop_without_start_leaves_no_group_and_may_be_repeated():
    for _ in range(2):
        crypten_runtime.stop()
        assert not crypten_runtime.load().is_initialized()
