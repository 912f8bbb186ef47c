"""What was answered stays answered: over restarts, torn writes and a full disk."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.errors import RoleError, SpecError
from fedgenome.secure.once import RECORD, Once


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers"


def kept(path, *answers):
    with Once(path) as once:
        for key, digest, body in answers:
            once.record(key, digest, [body])


def test_an_answer_is_there_after_a_restart(path):
    kept(path, ("k0", "d0", b"body 0"))
    with Once(path) as once:
        assert (once.told("k0"), once.body("k0"), once.last) == ("d0", b"body 0", ("k0", "d0"))
        assert once.told("k1") is None and once.body("k1") is None


def test_a_new_memory_holds_nothing(path):
    with Once(path) as once:
        assert once.last == ("", None) and once.told("") is None and once.body("") is None
    assert path.stat().st_mode & 0o777 == 0o600


@given(
    st.lists(
        st.tuples(st.text(max_size=9), st.binary(max_size=300), st.booleans()), max_size=8, unique_by=lambda a: a[0]
    )
)
def test_keys_stay_for_ever_and_only_the_last_body(tmp_path_factory, answers):
    path, once = tmp_path_factory.mktemp("once") / "answers", None
    for key, body, restart in answers:
        once = once or Once(path)
        once.record(key, "d" + key, [body[:7], memoryview(body)[7:]])
        assert once.body(key) == body
        if restart:
            once = once.close()
    if once:
        once.close()
    with Once(path) as again:
        assert all(again.told(key) == "d" + key for key, _, _ in answers)
        held = [again.body(key) for key, _, _ in answers]
        assert held == [None] * (len(answers) - 1) + [body for _, body, _ in answers[-1:]]


def test_file_holds_one_body_however_many_answers(path):
    kept(path, *((f"k{i}", "d" * 64, os.urandom(100_000)) for i in range(50)))
    assert path.stat().st_size < 100_000 + 50 * 200 + (1 << 16)


@pytest.mark.parametrize("lost", [1, 10, 150, 5_000, 10_000])
def test_write_torn_anywhere_loses_at_most_bytes_never_a_key(path, lost):
    kept(path, ("k0", "d0", b"0" * 10_000))
    before = path.read_bytes()
    kept(path, ("k1", "d1", b"1" * 10_000))
    after = path.read_bytes()
    end = max(i for i in range(len(after)) if after[i] != before[i]) + 1
    cut = max(0, end - lost)
    path.write_bytes(after[:cut] + before[cut:])  # the disk wrote the beginning only
    with Once(path) as once:
        assert once.told("k0") == "d0" and once.body("k0") is None
        assert once.told("k1") in ("d1", None) and once.body("k1") is None
        once.record("k2", "d2", [b"2"])
        assert once.body("k2") == b"2"
    with Once(path) as once:
        assert once.told("k0") == "d0" and once.body("k2") == b"2"


@pytest.mark.parametrize("place", range(0, 1000, 13))
def test_body_damaged_anywhere_is_lost_not_given(path, place):
    kept(path, ("k", "d", bytes(1000)))
    blob = bytearray(path.read_bytes())
    start = blob.index(bytes(900))
    blob[start + place if start + place < len(blob) else -1] ^= 1
    path.write_bytes(bytes(blob))
    with Once(path) as once:
        assert once.told("k") == "d"
        assert once.body("k") in (None, bytes(1000))


def test_old_body_that_looks_like_a_record_is_none(path):
    kept(path, ("k0", "d0", b""))
    forged = path.read_bytes().rstrip(b"\0")
    kept(path, ("k1", "d1", forged * 3))
    with Once(path) as once:
        assert once.last == ("k1", "d1") and once.body("k1") == forged * 3


def test_a_memory_has_one_user(path):
    with Once(path), pytest.raises(SpecError, match="answers: expected to be its only user"):
        Once(path)
    program = "import sys; from pathlib import Path; from fedgenome.secure.once import Once; Once(Path(sys.argv[1]))"
    with Once(path):
        done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "only user" in done.stderr


def test_another_file_is_not_taken_for_a_memory(path):
    path.write_text("something that somebody wants to keep")
    with pytest.raises(SpecError, match="answers: expected a file of answers"):
        Once(path)
    assert path.read_text() == "something that somebody wants to keep"


def test_answer_that_cannot_be_written_ends_the_memory(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    once = Once(path)
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(RoleError, match="answers: an answer could not be kept, No space left"):
        once.record("k", "d", [b"x"])
    monkeypatch.undo()
    with pytest.raises(RoleError, match="closed after a failed write"):
        once.record("k", "d", [b"x"])


def test_answer_is_on_the_disk_before_record_returns(path, monkeypatch):
    seen = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (real(file), seen.append(os.pread(file, 10_000, 0))))
    with Once(path) as once:
        once.record("k", "d", [b"body of the answer"])
    assert len(seen) == 1 and b"body of the answer" in seen[0] and len(seen[0]) > RECORD.size


@pytest.mark.parametrize("key", ["k" * (1 << 16), "é" * 11_000], ids=["long", "long once escaped"])
def test_name_that_could_not_be_read_again_is_refused_before_anything_is_written(path, key):
    kept(path, ("k0", "d0", b"body"))
    before = path.read_bytes()
    with Once(path) as once, pytest.raises(RoleError, match="answers: expected names of at most 65536 bytes, got 6"):
        once.record(key, "d1", [b"x"])
    assert path.read_bytes() == before


def test_memory_of_another_version_is_not_taken_for_an_empty_one(path):
    kept(path, ("k", "d", b"body"))
    later = path.read_bytes()[:4] + b"\x02" + path.read_bytes()[5:]
    path.write_bytes(later)
    with pytest.raises(SpecError, match="answers: expected a file of answers"):
        Once(path)
    assert path.read_bytes() == later
