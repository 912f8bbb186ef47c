"""Whoever holds ca.crt and reaches the SuperLink can submit an app: no relay runs it, and no job is worked on.

What a SuperNode makes of another key's signature, or of none, is shown with a hub of our own in
tests/deployment_roles/coordinator/test_superlink.py; here it is the federation's own SuperLink and relays.
"""

import json
import time

import pytest

from fedgenome.deployment.compose import SUPERLINK_PORT
from tests.deployment.intruders import ROLES, inside, noted, stranger
from tests.deployment_roles import bundles

REFUSED = "The FAB could not be verified."
# Asks every node for what the true app would ask first, and writes down what became of it.
SERVER = """
import json
from pathlib import Path
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    names = {node.node_id: node.name for node in grid.get_nodes()}
    said = {"header": ConfigRecord({"json": "{}"}), "arrays": ArrayRecord()}
    calls = [Message(RecordDict(said), dst_node_id=node, message_type="query.hello") for node in names]
    told = {}
    for reply in grid.send_and_receive(calls, timeout=240):
        told[names[reply.metadata.src_node_id]] = reply.error.reason if reply.has_error() else "answered"
    out = Path(context.run_config["out"])
    out.with_suffix(".new").write_text(json.dumps(told))
    out.with_suffix(".new").rename(out)
"""
# Reads everything that it can reach, where the true app asks its agent.
READER = """
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query("hello")
def hello(message, context):
    found = [str(path) for place in ("/data", "/state", "/link") for path in Path(place).rglob("*")]
    return Message(RecordDict({"header": ConfigRecord({"json": str(found)})}), reply_to=message)
"""
# Submits what is told with Flower's own command line and prints what it said; of a run that began, how it ended.
SUBMIT = """
import json, os, pathlib, subprocess, sys, time, zipfile
told = json.load(sys.stdin)
home = pathlib.Path("/tmp", "home")
home.mkdir(exist_ok=True)
(home / "config.toml").write_text(
    f'[superlink.here]\\naddress = "superlink:{told["port"]}"\\nroot-certificates = "/public/ca.crt"\\n')
if told["signed"]:
    zipfile.ZipFile("/public/app.fab").extractall(told["app"])
for name, text in told["files"].items():
    path = pathlib.Path(told["app"], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
def flwr(*words):
    code = "from flwr.cli.app import app; app()"
    done = subprocess.run([sys.executable, "-P", "-c", code, *words, "--format", "json"], cwd=home, text=True,
                          capture_output=True, env=os.environ | {"FLWR_HOME": str(home)})
    return done.stdout + done.stderr
said = flwr("run", told["app"], "here", *(["--run-config", told["config"]] if told["config"] else []))
began, status = '"success": true' in said, ""
while began and told["wait"] and not status.startswith("finished"):
    time.sleep(1)
    number = json.loads(said[said.index("{"):said.rindex("}") + 1])["run-id"]
    listed = flwr("list", "here", "--run-id", str(number))
    (run,) = json.loads(listed[listed.index("{"):listed.rindex("}") + 1])["runs"]
    status = run["status"] + " " + str(run["status-details"])
print(json.dumps([began, status or said]))"""


@pytest.fixture(scope="module")
def submit(federation):
    """Submit an app from a stranger's container on the coordinator's network."""
    with stranger(federation, "coordinator", public="public") as container:

        def give(app, config="", files=None, signed=False, wait=False):
            told = {"app": app, "config": config, "files": files or {}, "signed": signed, "wait": wait}
            return container.run(SUBMIT, told=told | {"port": SUPERLINK_PORT}, seconds=600)

        yield give


def collected(project, path, seconds=600):
    """Return what an app's server part wrote at the SuperLink, once it has."""
    ends = time.monotonic() + seconds
    while (found := project.run_in("superlink", "cat", path)).returncode:
        assert time.monotonic() < ends, project.logs("superlink")[-2000:]
        time.sleep(1)
    return json.loads(found.stdout)


APPS = {
    "an unsigned app that reads files": (
        {"sites/app.py": READER, "LICENSE": "x\n", "pyproject.toml": bundles.PROJECT},
        False,
    ),
    "the signed app, altered": ({"pyproject.toml": bundles.PROJECT}, True),
}


@pytest.mark.parametrize("what", APPS)
def test_no_relay_runs_an_app_that_the_release_key_did_not_sign(federation, submit, measured, what):
    files, signed = APPS[what]
    out = f"/tmp/{what.replace(' ', '-').replace(',', '')}.json"
    began, said = submit(f"/tmp/{int(signed)}", f'out="{out}"', files | {"server/app.py": SERVER}, signed)
    assert began, said
    told = collected(federation, out)
    noted(measured, f"{what}, by flwr run", "relays", len(told), sum(one != REFUSED for one in told.values()))
    assert told == dict.fromkeys(ROLES, REFUSED)


def test_the_hub_gives_no_other_app_or_version(submit, measured):
    for app in ("@fedgenome/fedgenome==9.9.9", "@intruder/fedgenome==0.1.0"):
        began, said = submit(app)
        noted(measured, f"flwr run {app}", "SuperLink", 1, began)
        assert not began, said


JOBS = {
    "no job": "",
    "a job without its token": 'job="{job}" token="{guess}"',
    "a folder that is no job": 'job="../../state" token=""',
}


@pytest.mark.parametrize("named", JOBS)
def test_the_signed_app_works_on_no_job_without_its_token(federation, submit, measured, named):
    listed = inside(federation, "superlink").run("import json, os; print(json.dumps(os.listdir('/jobs')))")
    config = JOBS[named].format(job=(listed or ["0" * 32])[0], guess="0" * 64)
    began, said = submit("@fedgenome/fedgenome==0.1.0", config, wait=True)
    noted(measured, f"the signed app, given {named}", "SuperLink", 1, "finished:failed" not in said)
    assert began and "finished:failed" in said and "expected" in said
