"""The compose file is what the code says, and what its walls promise; nothing here needs Docker."""

import ipaddress
import re
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.deployment import compose
from fedgenome.errors import SpecError


def test_committed_file_is_that_of_five_hospitals(repository):
    assert (repository / "docker-compose.yml").read_text() == compose.text(5)


def test_command_writes_the_file_of_any_number(tmp_path):
    done = CliRunner().invoke(app, ["compose", "--sites", "2", "--out", str(tmp_path / "two.yml")])
    assert done.exit_code == 0 and done.output == ""
    assert (tmp_path / "two.yml").read_text() == compose.text(2)


@pytest.mark.parametrize("sites", [0, compose.MOST_SITES + 1])
def test_number_out_of_range_is_refused(sites):
    with pytest.raises(SpecError, match=f"expected 1 to {compose.MOST_SITES} sites, got sites={sites}"):
        compose.text(sites)


@pytest.mark.parametrize("sites", [1, 5])
def test_every_role_has_a_container_and_a_relay_with_a_network_of_its_own(sites):
    told = yaml.safe_load(compose.text(sites))["services"]
    agents, relays = ([name for name in told if name.startswith(what)] for what in ("agent-", "relay-"))
    assert len(agents) == sites and len(relays) == sites + 4
    assert sorted(one for relay in relays for one in told[relay]["networks"]) == sorted(
        map(compose.network, compose.roles_of(sites))
    )


def test_nobody_but_the_superlink_is_in_more_than_one_network():
    told = compose.document(3)["services"]
    assert [name for name, one in told.items() if len(one.get("networks", ())) > 1] == ["superlink"]


def test_many_hospitals_have_networks_apart_within_the_block_and_few_those_of_the_engine():
    few, many = (compose.document(n)["networks"] for n in (compose.MOST_POOLED, compose.MOST_SITES))
    assert all(one == {"internal": True} for one in few.values())
    told = [one["ipam"]["config"][0]["subnet"].replace(compose.BLOCK, "10.213") for one in many.values()]
    block = ipaddress.ip_network("10.213.0.0/22")
    assert len(set(told)) == compose.MOST_SITES + 6 and all(one["internal"] for one in many.values())
    assert all(ipaddress.ip_network(one).prefixlen == 28 and ipaddress.ip_network(one).subnet_of(block) for one in told)


def test_every_volume_network_and_secret_named_is_declared():
    told = compose.document(3)
    for kind in ("networks", "secrets"):
        assert {one for service in told["services"].values() for one in service.get(kind, ())} == set(told[kind])
    mounts = [mount.split(":")[0] for service in told["services"].values() for mount in service["volumes"]]
    assert {name for name in mounts if not name.startswith("$")} == set(told["volumes"])


def test_both_dockerfiles_begin_with_the_same_system(repository):
    def system(folder):
        text = (repository / folder / "Dockerfile").read_text()
        return re.search(r"^FROM python.*?^STOPSIGNAL \w+$", text, re.MULTILINE | re.DOTALL)[0]

    assert system("sites") == system("server")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(path):
    """Return the packages of a list and of those it includes."""
    lines = path.read_text().splitlines()
    more = [name for line in lines if line.startswith("-r ") for name in listed(path.parent / line.removeprefix("-r "))]
    return [line for line in lines if re.match(r"[A-Za-z]", line)] + more


LEFT_OUT = {
    "sites/requirements-relay.txt": {"prompt-toolkit", "uv"},
    "sites/requirements-agent.txt": {"prompt-toolkit", "uv"},
    "server/requirements-party.txt": {
        "future", "pandas", "prompt-toolkit", "scipy", "sklearn", "tensorboard", "torchvision", "uv",
    },
    "server/requirements-coordinator.txt": {
        "matplotlib", "numba", "patsy", "pynndescent", "seaborn", "statsmodels", "umap-learn", "uv",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_list_leaves_out_only_what_its_packages_are_known_to_do_without(repository, name):
    have = listed(repository / name)
    needs = [Requirement(text) for package in have for text in metadata.requires(package) or ()]
    wanted = {normal(one.name) for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})}
    assert wanted - {normal(package) for package in have} == LEFT_OUT[name]


def test_lists_of_packages_name_none_without_a_version_in_the_constraints(repository):
    pinned = {normal(line.split("==")[0]) for line in (repository / "constraints.txt").read_text().splitlines()}
    for name in LEFT_OUT:
        names = listed(repository / name)
        assert names and [one for one in names if normal(one) not in pinned] == [], name
