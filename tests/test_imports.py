"""Roles that must start fast load nothing heavy; the package itself loads nothing."""

import re
import subprocess
import sys

import pytest

import fedgenome

HEAVY = {"anndata", "dp_accounting", "opacus", "pandas", "scanpy"}


def packages_loaded(module, root):
    """Return the top-level packages and the dotted names that importing ``module`` loads."""
    command = [sys.executable, "-W", "ignore", "-X", "importtime", "-c", f"import {module}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    names = set(re.findall(r"^import time:.*\|\s*(\S+)$", done.stderr, flags=re.MULTILINE))
    return {name.partition(".")[0] for name in names}, names


LIGHT = ["fedgenome.query", "fedgenome.secure.party_process", "sites.app"]
LIGHT += ["fedgenome.deployment.compute.party", "fedgenome.deployment.compute.dealer"]


@pytest.mark.parametrize("module", LIGHT)
def test_role_starts_without_heavy_packages(module, repository):
    loaded, names = packages_loaded(module, repository)
    assert module in names, "the probe sees no imports"
    assert not loaded & HEAVY


def test_probe_sees_a_heavy_package(repository):
    loaded, _ = packages_loaded("dp_accounting", repository)
    assert loaded & HEAVY == {"dp_accounting"}


def test_package_loads_none_of_its_modules(repository):
    loaded, names = packages_loaded("fedgenome", repository)
    assert {name for name in names if name.startswith("fedgenome")} == {"fedgenome"}
    assert not loaded & {"numpy", "torch", "flwr", "pydantic"}


def test_all_names_exactly_the_exports():
    assert set(fedgenome.__all__) == {"__version__", *fedgenome._EXPORTS}
    assert len(set(fedgenome.__all__)) == len(fedgenome.__all__)
    for name, module in fedgenome._EXPORTS.items():
        assert getattr(fedgenome, name).__module__ == module


def test_export_is_imported_when_first_used(monkeypatch):
    monkeypatch.setitem(fedgenome._EXPORTS, "require_probe", "fedgenome.errors")
    monkeypatch.setattr("fedgenome.errors.require_probe", 7, raising=False)
    assert "require_probe" not in vars(fedgenome)
    assert fedgenome.require_probe == 7
    monkeypatch.delattr(fedgenome, "require_probe")


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'fedgenome' has no attribute 'serve'"):
        fedgenome.serve  # noqa: B018 - the access is what is tested
