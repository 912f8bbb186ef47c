"""Files are whole or not there."""

import os
import stat

import pytest

from fedgenome import files


@pytest.fixture
def loose():
    """A umask that takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_new_file_has_its_bytes_and_mode_and_nothing_lies_beside_it(tmp_path, mode, loose):
    files.create(tmp_path / "a", b"text", mode)
    assert (tmp_path / "a").read_bytes() == b"text" and stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_what_is_there_is_never_replaced_and_nothing_is_left_beside_it(tmp_path, there):
    path = tmp_path / "a"
    {"file": lambda: path.write_bytes(b"old"), "link": lambda: path.symlink_to("b"), "folder": path.mkdir}[there]()
    with pytest.raises(FileExistsError):
        files.create(path, b"new", 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert there != "file" or path.read_bytes() == b"old"


def test_bytes_that_cannot_be_written_leave_no_new_file(tmp_path):
    with pytest.raises(TypeError):
        files.create(tmp_path / "a", "no bytes", 0o600)
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_replaced_by_all_of_the_new_bytes(tmp_path):
    for data in (b"a longer text", b"short"):
        files.replace(tmp_path / "a", data)
        assert (tmp_path / "a").read_bytes() == data and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_replaced_place_is_on_the_disk_under_its_name_when_it_returns(tmp_path, monkeypatch):
    synced, real = [], os.fsync

    def noted(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        synced.append((kind, (tmp_path / "a").exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", noted)
    files.replace(tmp_path / "a", b"new")
    assert synced == [("file", False), ("folder", True)]
