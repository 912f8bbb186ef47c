"""A site's accounts: no donor is charged to two of them, and what is noted tells nobody who they are."""

import json
import multiprocessing
import shutil

import pytest

from fedgenome.errors import SpecError
from fedgenome.privacy import accounts

FIRST, SECOND = "a" * 32, "b" * 32
DONORS = tuple(f"donor-{i}" for i in range(40))


def noted(folder):
    return json.loads((folder / accounts.REGISTRY).read_text())["accounts"]


def refuses(folder, account, donors, unit="donor"):
    try:
        accounts.admit(folder, account, donors, unit)
    except SpecError as fault:
        return str(fault)
    return ""


def test_account_of_a_folder_is_random_and_stays(tmp_path):
    (tmp_path / "other").mkdir()
    first = accounts.kept(tmp_path)
    assert accounts.kept(tmp_path) == first != accounts.kept(tmp_path / "other")


def test_account_that_is_none_is_refused(tmp_path):
    (tmp_path / accounts.ACCOUNT).write_text("")
    with pytest.raises(SpecError, match=r"expected .*account: 32 hex digits of an account, got length=0"):
        accounts.kept(tmp_path)


def test_one_account_takes_every_shard_and_remembers_who_was_in_it(tmp_path):
    for donors in (DONORS[:30], DONORS[20:], DONORS[5:6], ()):
        accounts.admit(tmp_path, FIRST, donors, "donor")
    assert [len(whose["donors"]) for whose in noted(tmp_path).values()] == [40]


def test_second_account_may_have_other_donors_and_no_shared_one(tmp_path):
    accounts.admit(tmp_path, FIRST, DONORS[:30], "donor")
    before = (tmp_path / accounts.REGISTRY).read_bytes()
    told = refuses(tmp_path, SECOND, DONORS[27:])
    assert f"3 of 13 donors of account {SECOND} belong to {FIRST}" in told
    assert (tmp_path / accounts.REGISTRY).read_bytes() == before
    assert not refuses(tmp_path, SECOND, DONORS[30:])
    assert "1 of 2 donors" in refuses(tmp_path, FIRST, (DONORS[0], DONORS[35]))


def test_donor_of_an_earlier_shard_counts_though_no_later_one_has_her(tmp_path):
    accounts.admit(tmp_path, FIRST, DONORS[:2], "donor")
    accounts.admit(tmp_path, FIRST, DONORS[1:2], "donor")
    assert "1 of 1 donors" in refuses(tmp_path, SECOND, DONORS[:1])


@pytest.mark.parametrize("units", [("row", "donor"), ("donor", "row"), ("row", "row")])
def test_where_rows_are_units_there_is_one_account(tmp_path, units):
    accounts.admit(tmp_path, FIRST, DONORS[:20], units[0])
    assert "expected one account where rows are units" in refuses(tmp_path, SECOND, DONORS[20:], units[1])
    assert not refuses(tmp_path, FIRST, DONORS[20:], "row")
    assert "expected one account where rows are units" in refuses(tmp_path, SECOND, DONORS[30:])


def test_new_account_id_gives_the_same_donors_no_new_budget(tmp_path):
    accounts.admit(tmp_path, accounts.kept(tmp_path), DONORS, "donor")
    (tmp_path / accounts.ACCOUNT).unlink()
    assert "40 of 40 donors" in refuses(tmp_path, accounts.kept(tmp_path), DONORS)


def test_files_are_the_owners_and_hold_neither_ids_nor_an_order(tmp_path):
    accounts.admit(tmp_path, FIRST, DONORS, "donor")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        accounts.KEY: 0o600,
        accounts.REGISTRY: 0o600,
    }
    assert "donor-" not in (tmp_path / accounts.REGISTRY).read_text()
    assert noted(tmp_path)[FIRST]["donors"] == sorted(noted(tmp_path)[FIRST]["donors"])


def test_hashes_of_two_sites_have_nothing_in_common(tmp_path):
    for site in ("north", "south"):
        (tmp_path / site).mkdir()
        accounts.admit(tmp_path / site, FIRST, DONORS, "donor")
    north, south = (set(noted(tmp_path / site)[FIRST]["donors"]) for site in ("north", "south"))
    assert len(north) == len(south) == 40 and not north & south


def test_hashes_under_another_key_would_let_a_donor_in_twice(tmp_path):
    """The check sees what the key ties together: with the key replaced it is blind, so that a lost key is refused."""
    accounts.admit(tmp_path, FIRST, DONORS, "donor")
    shutil.copy(tmp_path / accounts.KEY, tmp_path / "saved")
    (tmp_path / accounts.KEY).unlink()
    assert "expected the key under which accounts.json beside it was made" in refuses(tmp_path, SECOND, DONORS)
    (tmp_path / accounts.KEY).touch(0o600)
    (tmp_path / accounts.KEY).write_bytes(b"\1" * 32)
    assert not refuses(tmp_path, SECOND, DONORS)


@pytest.mark.parametrize("text", ["", "[]", '{"version": 2, "accounts": {}}', '{"version": 1, "accounts": {"a": 1}}'])
def test_notes_that_cannot_be_read_are_refused_not_begun_anew(tmp_path, text):
    accounts.admit(tmp_path, FIRST, DONORS, "donor")
    (tmp_path / accounts.REGISTRY).write_text(text)
    assert "expected the accounts of a site and their donors' hashes, version 1" in refuses(tmp_path, FIRST, DONORS)


@pytest.mark.parametrize(("change", "rule"), [("mode", "only its owner can use"), ("length", "a key of 32 bytes")])
def test_key_that_others_can_read_or_that_was_cut_is_refused(tmp_path, change, rule):
    accounts.admit(tmp_path, FIRST, DONORS, "donor")
    if change == "mode":
        (tmp_path / accounts.KEY).chmod(0o640)
    else:
        (tmp_path / accounts.KEY).write_bytes(b"\1" * 31)
    assert rule in refuses(tmp_path, FIRST, DONORS)


def _admits(folder, account):
    return not refuses(folder, account, DONORS)


def test_of_processes_that_want_the_same_donors_under_accounts_of_their_own_one_gets_them(tmp_path):
    asked = [(tmp_path, f"{i:032x}") for i in range(8)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert sorted(pool.starmap(_admits, asked)) == [False] * 7 + [True]
    assert len(noted(tmp_path)) == 1
