"""A run on a real SuperLink gives what engine local gives; whatever is wrong is one line before anything is asked."""

import contextlib
import json

import pytest

from fedgenome import experiment, federate, folders, prepare
from fedgenome.deployment import coordinator
from fedgenome.deployment.coordinator import Deployment, DeploymentConfig
from fedgenome.deployment.flower import Away, Flower
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import SpecError
from fedgenome.streams import Root
from tests.deployment import loopback

TEXT = """
name = "small"
seed = 7
[cohort]
source = "pbmc68k"
layer = "raw"
scale = "log"
panel = ["CD3D", "MS4A1", "LYZ"]
label = "bulk_labels"
labels = [
  "CD14+ Monocyte", "CD19+ B", "CD34+", "CD4+/CD25 T Reg", "CD4+/CD45RA+/CD25- Naive T",
  "CD4+/CD45RO+ Memory", "CD56+ NK", "CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic", "Dendritic",
]
high = 7.0
[split]
sites = 2
[caps]
site_cap = 700
donors_bound = 700
[privacy]
trust = "local"
epsilon = 10.0
delta = 1e-4
[engine]
secure = "off"
[[methods]]
kind = "marginals"
[release]
rows = 50
"""
MORE = 'superlink = "127.0.0.1:1"\njobs = "jobs"\nstudy = "study.json"\n'


def agreed(folder, text=TEXT):
    """Write an experiment, its Study and its deal; return what is prepared of it."""
    (folder / "small.toml").write_text(text)
    spec = experiment.load(folder / "small.toml")
    _, deal = folders.reserve(spec.seed)
    (folder / "deal").write_text(deal)
    rng = Root(bytes.fromhex(deal), seeded=True).stream("split").generator()
    prepared = prepare.prepare(spec, rng)
    SignedStudy(study=prepared.study).save(folder / "study.json")
    return prepared


def written(folder, text):
    (folder / "deployment.toml").write_text(text)
    return folder / "deployment.toml"


@contextlib.contextmanager
def hospitals(folder, prepared, address):
    place = federate.Place(state=folder, ledgers=folder / "sites", parties=folder, run="", seed=7)
    with contextlib.ExitStack() as stack:
        for site in prepared.split.sites:
            agent = stack.enter_context(federate._agent(prepared, prepared.study, place, site))
            stack.enter_context(loopback.node(folder, address, site, agent.handle))
        yield


def run(folder, *more):
    """Run the experiment to its end; return the files of its release or candidate."""
    with loopback.command("run", "small.toml", "--json", *more, cwd=folder) as running:
        out, error = running.communicate()
    assert running.returncode in (0, 3), error + out
    return files(folder / json.loads(out)["path"])


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_seeded_run_on_a_real_superlink_is_that_of_engine_local_byte_for_byte(tmp_path):
    prepared = agreed(tmp_path)
    with loopback.superlink(tmp_path) as address, hospitals(tmp_path, prepared, address):
        more = f'superlink = "{address}"\njobs = "jobs"\nstudy = "study.json"\ndeal = "deal"\napp = "{loopback.ROOT}"\n'
        there = run(tmp_path, "--on", written(tmp_path, more))
    assert there == run(tmp_path, "--out", "local")
