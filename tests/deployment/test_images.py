"""What the images hold: no more than their role needs, nothing secret, nobody's privileges."""

import json
import re

import pytest

from tests.deployment.conftest import IMAGES
from tests.deployment.project import docker, inspect

MOST_BYTES = {"relay": 500e6, "agent": 1.6e9, "party": 1.6e9, "coordinator": 2.0e9}
IMPORTS = {
    "relay": (
        "fedgenome.federation.site_app",
        "fedgenome.deployment.relay",
        "flwr.supernode.cli.flower_supernode",
        "flwr.supernode.cli.flwr_clientapp",
    ),
    "agent": ("fedgenome.federation.site", "fedgenome.methods.registry", "fedgenome.privacy.accounting", "anndata"),
    "party": ("fedgenome.secure.party", "fedgenome.secure.dealer", "fedgenome.federation.agents"),
    "coordinator": (
        "fedgenome.run",
        "fedgenome.audit.run",
        "fedgenome.utility.run",
        "fedgenome.report.internal",
        "fedgenome.federation.server_app",
        "flwr.superlink.cli",
        "flwr.cli.app",
    ),
}
FOREIGN = {
    "relay": ("torch", "crypten", "anndata", "dp_accounting", "ray", "scanpy"),
    "agent": ("crypten", "ray", "scanpy", "sklearn"),
    "party": ("ray", "scanpy", "anndata", "dp_accounting"),
    "coordinator": ("ray", "crypten"),
}
SECRET = re.compile(rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")


def run(image, *command, options=()):
    """Run a command in a fresh container as the images are meant to be run: read-only, no network, no capability."""
    walls = ("--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
    return docker("run", "--rm", *walls, *options, "--entrypoint", command[0], image, *command[1:])


@pytest.mark.parametrize("name", IMAGES)
def test_image_is_within_its_size(image, name):
    assert inspect("image", image(name))["Size"] < MOST_BYTES[name]


@pytest.mark.parametrize("name", IMAGES)
def test_image_runs_as_a_user_without_privileges(image, name):
    assert inspect("image", image(name))["Config"]["User"] == "10001:10001"
    assert run(image(name), "id", "-u").strip() == "10001"
    special = run(image(name), "find", "/opt", "/usr/local", "-perm", "/6000", "-type", "f")
    assert special == ""


@pytest.mark.parametrize("name", IMAGES)
def test_listed_packages_suffice(image, name):
    code = f"import importlib, sys; [importlib.import_module(m) for m in {IMPORTS[name]!r}]; print('fine')"
    assert run(image(name), "python3", "-W", "ignore", "-c", code).strip() == "fine"


def test_crypten_and_torch_compute_in_the_party_image(image):
    code = """
import numpy as np
from fedgenome.secure import crypten_runtime as c
words = np.array([5, 2**32 - 1], np.uint32)
print((c.unwrap(c.wrap(words), 32) == words).all())"""
    assert run(image("party"), "python3", "-W", "ignore", "-c", code).strip() == "True"


@pytest.mark.parametrize("name", IMAGES)
def test_image_holds_no_other_role_s_packages_and_no_installer(image, name):
    asked = (*FOREIGN[name], "pip")
    code = f"import importlib.util as u; print([m for m in {asked!r} if u.find_spec(m)])"
    assert run(image(name), "python3", "-c", code).strip() == "[]"


@pytest.mark.parametrize("name", IMAGES)
def test_torch_is_a_build_for_the_cpu_of_the_pinned_version(image, name, repository):
    if name == "relay":
        code = "import importlib.util as u; print(u.find_spec('torch'))"
        assert run(image(name), "python3", "-c", code).strip() == "None"
        return
    pinned = re.search(r"^torch==(.*)$", (repository / "constraints.txt").read_text(), re.MULTILINE)[1]
    code = "import torch; print(torch.__version__.partition('+')[0], torch.version.cuda)"
    assert run(image(name), "python3", "-c", code).split() == [pinned, "None"]


@pytest.mark.parametrize("name", IMAGES)
def test_every_package_has_the_version_of_the_constraints(image, name, repository):
    told = re.findall(r"^([A-Za-z0-9._-]+)==(.+)$", (repository / "constraints.txt").read_text(), re.MULTILINE)
    pinned = {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in told}
    code = "import importlib.metadata as m, json; print(json.dumps([(d.name, d.version) for d in m.distributions()]))"
    found = json.loads(run(image(name), "python3", "-c", code))
    names = {re.sub(r"[-_.]+", "-", package).lower(): version.partition("+")[0] for package, version in found}
    assert len(names) > 30
    assert {package: version for package, version in names.items() if pinned.get(package) != version} == {
        "fedgenome": names["fedgenome"]
    }


@pytest.mark.parametrize("name", IMAGES)
def test_layers_and_history_hold_no_secret(image, name):
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image(name))
    settings = " ".join(inspect("image", image(name))["Config"]["Env"])
    assert "COPY" in history
    assert not re.search(r"(?i)(password|secret|token|api.?key|index.?url)=", history + settings)
    # One layer holds all that is not in the others: nothing was deleted from under it.
    code = f"""
import os, pathlib, re
found = []
for top in ("/etc", "/home", "/opt", "/srv", "/usr", "/var"):
    for folder, _, names in os.walk(top):
        for path in (pathlib.Path(folder, one) for one in names):
            if "SelfTest" in folder:  # pycryptodome's own test vectors, published with it
                continue
            if path.is_file() and os.access(path, os.R_OK) and re.search({SECRET.pattern!r}, path.read_bytes()[:65536]):
                found.append(str(path))
print(found)"""
    assert run(image(name), "python3", "-c", code).strip() == "[]"


@pytest.mark.parametrize("name", IMAGES)
def test_root_is_read_only_and_only_the_scratch_folder_takes_files(image, name):
    code = """
import pathlib
for folder in ("/", "/opt/fedgenome", "/usr", "/tmp"):
    try:
        pathlib.Path(folder, "probe").write_text("x")
        print("wrote", folder)
    except OSError as fault:
        print(fault.strerror, folder)"""
    told = run(image(name), "python3", "-c", code).splitlines()
    refused = "Read-only file system"
    assert told == [f"{refused} /", f"{refused} /opt/fedgenome", f"{refused} /usr", "wrote /tmp"]
