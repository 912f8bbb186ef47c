"""A tiny Flower app of the same name and shape as ours, for tests of who may run it."""

from pathlib import Path

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "fedgenome"
version = "0.1.0"
description = "answers with its mark"
license = { file = "LICENSE" }
dependencies = ["flwr[simulation]>=1.41.0,<1.42"]
[tool.flwr.app]
publisher = "fedgenome"
fab-format-version = 1
flwr-version-target = "1.41.0"
fab-include = ["/sites/app.py", "/server/app.py", "/LICENSE"]
[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "sites.app:app"
[tool.flwr.app.config]
out = ""
"""
CLIENT = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message, context):
    return Message(RecordDict({"said": ConfigRecord({"mark": MARK})}), reply_to=message)
"""
SERVER = """
import json, time
from pathlib import Path
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.2)
    named = sorted(node.name for node in grid.get_nodes())
    message = Message(RecordDict({"q": ConfigRecord({"a": 1})}), dst_node_id=nodes[0], message_type="query")
    (reply,) = grid.send_and_receive([message], timeout=60)
    told = reply.error.reason if reply.has_error() else reply.content["said"]["mark"]
    out = Path(context.run_config["out"])
    out.with_suffix(".new").write_text(json.dumps([told, named]))
    out.with_suffix(".new").rename(out)
"""


def write(root: Path, mark: str) -> Path:
    """Write an app whose ClientApp answers with ``mark``."""
    parts = {
        "pyproject.toml": PROJECT,
        "LICENSE": "x\n",
        "server/app.py": SERVER,
        "sites/app.py": f"MARK = {mark!r}{CLIENT}",
    }
    for name, text in parts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
