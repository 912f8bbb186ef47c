"""An experiment small enough for a SuperLink on one machine: what its coordinator and its hospitals hold."""

import contextlib
import json
from dataclasses import replace

from fedgenome import experiment, federate, folders, prepare
from fedgenome.deployment.signed import SignedStudy
from fedgenome.streams import Root
from tests.deployment_roles import loopback

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


def agreed(folder, text=TEXT, keyed=lambda study: study, signer=None):
    """Write an experiment, its Study and its deal; return what is prepared of it."""
    (folder / "small.toml").write_text(text)
    spec = experiment.load(folder / "small.toml")
    _, deal = folders.reserve(spec.seed)
    (folder / "deal").write_text(deal)
    rng = Root(bytes.fromhex(deal), seeded=True).stream("split").generator()
    prepared = prepare.prepare(spec, rng)
    signed = SignedStudy(study=keyed(prepared.study))
    (signed.sign(signer) if signer else signed).save(folder / "study.json")
    return replace(prepared, study=signed.study)


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


def submitted(folder, address):
    """Write the deployment's file; return what a run on it is given."""
    text = f'superlink = "{address}"\njobs = "jobs"\nstudy = "study.json"\ndeal = "deal"\napp = "{loopback.ROOT}"\n'
    return "--on", written(folder, text)
