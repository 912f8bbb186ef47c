"""The Study of a deployment: the experiment's own, with the roster's keys, signed on the command line."""

import json

import pytest
from typer.testing import CliRunner

from fedgenome import experiment, prepare
from fedgenome.cli.main import app
from fedgenome.deployment.consortium import studies
from fedgenome.deployment.consortium.nodes import Node
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity
from fedgenome.secure.roster import RosterFile
from fedgenome.streams import Root

EXPERIMENT = """
name = "small"
seed = 3
[cohort]
source = "pbmc68k"
layer = "raw"
scale = "log"
panel = ["CD3D", "CD79A"]
label = "bulk_labels"
labels = ["CD14+ Monocyte", "CD19+ B", "CD34+", "CD4+/CD25 T Reg", "CD4+/CD45RA+/CD25- Naive T",
  "CD4+/CD45RO+ Memory", "CD56+ NK", "CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic", "Dendritic"]
high = 7.0
[split]
sites = 2
[caps]
site_cap = 600
donors_bound = 700
[privacy]
trust = "none"
[[methods]]
kind = "marginals"
"""
SITES = {f"site-{i}": Identity.generate().public for i in (1, 2)}
ROSTER = RosterFile(
    sites=tuple(SITES.items()), parties=tuple(Identity.generate().public for _ in range(3)), dealer="d" * 64
)


@pytest.fixture
def file(tmp_path):
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    return tmp_path / "e.toml"


def test_the_study_is_what_a_run_prepares_with_the_rosters_keys(file):
    spec = experiment.load(file)
    made = studies.make(spec, ROSTER, {}, None)
    local = prepare.prepare(spec, Root.of(3, "driver").stream("split").generator()).study
    assert made == local.with_keys(SITES, ROSTER.parties) and made.dealer == ""
    assert made.digest != local.digest and {site.cap for site in made.roster} == {600}


def test_a_roster_of_other_sites_or_larger_caps_is_refused(file):
    spec = experiment.load(file)
    other = RosterFile(sites=(("site-1", SITES["site-1"]), ("bonn", SITES["site-2"])), parties=ROSTER.parties)
    with pytest.raises(SpecError, match="bonn is only in the roster; site-2 is only in the experiment"):
        studies.make(spec, other, {}, None)
    node = {"role": "site", "key": "ecdsa-sha2-nistp384 AAAA"}
    nodes = {"site-1": Node(cap=600, **node), "site-2": Node(cap=601, **node)}
    with pytest.raises(SpecError, match=r"caps\.site_cap: expected at least the 601 donors that site-2 asked for"):
        studies.make(spec, ROSTER, nodes, None)
    with pytest.raises(SpecError, match="expected a node for every site of the roster, got none for site-1"):
        studies.make(spec, ROSTER, {"site-2": nodes["site-2"]}, None)


def test_make_sign_and_show_from_the_command_line(file, tmp_path):
    ROSTER.save(tmp_path / "r.toml")
    signers = [Identity.generate() for _ in range(2)]
    for i, signer in enumerate(signers):
        signer.save(tmp_path / f"{i}.pem")
    study = tmp_path / "study.json"
    made = ["make", file, "--roster", tmp_path / "r.toml", "--out", study, "--sign", tmp_path / "0.pem"]
    commands = (made, ["sign", study, "--key", tmp_path / "1.pem"], ["show", study])
    done = [CliRunner().invoke(app, ["study", *map(str, command)]) for command in commands]
    assert [one.exit_code for one in done] == [0, 0, 0], [one.output for one in done]
    signed = SignedStudy.load(study)
    assert [signed.verify([signer.public]) for signer in signers] == [signer.public for signer in signers]
    shown = done[2].stdout
    assert signed.study.digest in shown and "privacy     none: no noise at all" in shown and SITES["site-2"] in shown


def test_show_refuses_a_signature_that_does_not_fit(tmp_path, file):
    made = SignedStudy(study=studies.make(experiment.load(file), ROSTER, {}, None)).sign(Identity.generate())
    made.save(tmp_path / "s.json")
    told = json.loads((tmp_path / "s.json").read_text())
    told["study"]["quorum"] = 1
    (tmp_path / "s.json").write_text(json.dumps(told))
    shown = CliRunner().invoke(app, ["study", "show", str(tmp_path / "s.json")])
    assert shown.exit_code == 2 and "does not fit this Study" in shown.output
