"""Compose projects that tests share. All here needs Docker and the images: `make test-deployment`."""

import itertools
import os
from pathlib import Path

import pytest
import yaml

from fedgenome import __version__
from fedgenome.deployment import compose
from tests.deployment.project import Project, docker

IMAGES = ("agent", "relay", "party", "coordinator")
_NUMBER = itertools.count()


def pytest_collection_modifyitems(items):
    """Nothing here is for an ordinary run."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.deployment)
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def image():
    """Name of an image by its role; all four must have been built."""
    missing = [name for name in IMAGES if not docker("images", "-q", f"fedgenome-{name}:{__version__}").strip()]
    if missing:
        pytest.fail(f"no image of {', '.join(missing)}: run make images first")
    return lambda name: f"fedgenome-{name}:{__version__}"


@pytest.fixture(scope="session")
def project(image, repository, tmp_path_factory):
    """Factory of projects, each of a name of its own, taken down at the end whatever happens.

    ``sites``: hospitals. ``experiment``: the file, or None for the quickstart. ``over``: a document laid over
    docker-compose.yml.
    """
    from fedgenome.deployment import certificates

    made = []

    def make(sites=2, experiment=None, over=None):
        name = f"fedgenome-test-{os.getpid()}-{next(_NUMBER)}"
        folder = tmp_path_factory.mktemp(name)
        tls = folder / "tls"
        certificates.make(tls, ["superlink", "localhost"])
        (tls / certificates.KEY).chmod(0o644)  # read through a mount by the container's user
        files = [folder / "docker-compose.yml", folder / "over.yml"][: 1 if over is None else 2]
        for file, text in zip(files, (compose.text(sites), yaml.safe_dump(over)), strict=False):
            file.write_text(text)
        environment = {"TLS": str(tls)} | ({} if experiment is None else {"EXPERIMENT_FILE": str(experiment)})
        made.append(Project(name=name, root=repository, files=files, environment=environment))
        return made[-1]

    yield make
    for one in made:
        one.down()


@pytest.fixture(scope="session")
def idle(project):
    """Two hospitals' federation whose containers all sleep: walls, mounts and users without the roles."""
    sleeping = {"entrypoint": ["sleep", "infinity"], "healthcheck": {"disable": True}}
    services = dict.fromkeys(compose.document(2)["services"], sleeping)
    asleep = project(sites=2, over={"services": services})
    asleep.up(*services)
    return asleep
