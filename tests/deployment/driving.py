"""A coordinator that is an enemy: it speaks to a federation's roles through their own relays, and may say anything."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedgenome import __version__
from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from fedgenome.secure import frames, replies
from fedgenome.secure.frames import Frame, Kind
from fedgenome.study import Plan, Study
from tests.deployment.intruders import inside, relay_of
from tests.deployment.project import Project

# In a relay: sends each of the blobs in a call's place, by the relay's own key, some at a time; prints the answers.
RELAY = """
import base64, json, sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
key = bytes.fromhex(open("/link/socket.key").read())
def ask(blob):
    try:
        with Client("/link/agents.sock", "AF_UNIX", authkey=key) as link:
            link.send_bytes(base64.b64decode(blob))
            while not (answer := link.recv_bytes()):
                pass  # a sign of life
            return base64.b64encode(answer).decode()
    except (OSError, EOFError, AuthenticationError) as fault:
        return "!" + type(fault).__name__
with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    print(json.dumps(list(pool.map(ask, json.load(sys.stdin)))))"""
# Of the consortium: signs a Study with the signer's key; prints the signature.
SIGN = """
import json, sys
from pathlib import Path
from fedgenome.deployment.signed import SignedStudy
from fedgenome.secure.identity import Identity
from fedgenome.study import Study
study = Study.model_validate(json.load(sys.stdin))
print(json.dumps(SignedStudy(study=study).sign(Identity.load(Path("/state/signer.pem"))).wire))"""


def relayed(project: Project, role: str, blobs: Sequence[bytes], at_once: int = 1) -> list[Call | None]:
    """Send bytes to a role as its relay would send a call; return the answers, None where it hung up."""
    told = [base64.b64encode(blob).decode() for blob in blobs]
    answers = inside(project, relay_of(role)).run(RELAY, str(at_once), told=told, seconds=600)
    return [None if one.startswith("!") else agents._decode(base64.b64decode(one))[2] for one in answers]


def ask(project: Project, role: str, kind: str, call: Call) -> Call:
    """Ask a role as its relay would."""
    (answer,) = relayed(project, role, [agents._encode(kind, 0, call)])
    assert answer is not None, f"{role} hung up"
    return answer


def public(project: Project, name: str) -> dict:
    """Return a public file of the consortium's."""
    return json.loads(project.run_in("superlink", "cat", f"/public/{name}").stdout)


def signatures(project: Project, study: Study) -> list[dict[str, str]]:
    """Have the consortium sign a Study, as an operator who was deceived would."""
    command = [
        "docker",
        "run",
        "-i",
        "--rm",
        "--network",
        "none",
        f"--volume={project.name}_state-consortium:/state:ro",
    ]
    command += ["--entrypoint", "python3", f"fedgenome-coordinator:{__version__}", "-W", "ignore", "-c", SIGN]
    told = study.model_dump_json(by_alias=True)
    done = subprocess.run(command, input=told, capture_output=True, text=True, timeout=300, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@dataclass(frozen=True, kw_only=True)
class Drive:
    """One run, driven by hand.

    Attributes:
        run: Its name.
        study: What is joined.
        plan: Of it.
        signed: Signatures over the Study.
    """

    project: Project
    study: Study
    plan: Plan
    signed: list[dict[str, str]]
    run: str = field(default_factory=lambda: secrets.token_hex(16))

    @classmethod
    def of(cls, project: Project, plan: Plan) -> Drive:
        """Return a run of the federation's own Study."""
        told = public(project, "study.json")
        return cls(project=project, study=Study.model_validate(told["study"]), plan=plan, signed=told["signatures"])

    def header(self, **more: object) -> dict[str, object]:
        """Return what a join says, to a party or the dealer; to a site ``keys`` besides."""
        told = {"study": self.study.model_dump(mode="json", by_alias=True), "plan": self.plan.model_dump(mode="json")}
        return told | {"run": self.run, "signatures": self.signed, **more}

    def join(self, role: str, **more: object) -> Call:
        """Join a role."""
        return ask(self.project, role, "join", Call(header=self.header(**more)))

    def frames(self, role: str, *asked: Frame) -> list[Frame]:
        """Have a party handle frames; return its replies."""
        arrays = {str(i): np.frombuffer(frames.encode(one), np.uint8) for i, one in enumerate(asked)}
        answer = ask(self.project, role, "frames", Call(header={}, arrays=arrays))
        assert answer.refusal is None, answer.refusal
        return [frames.decode(answer.arrays[str(i)].data) for i in range(len(asked))]

    def pin(self, role: str) -> Mapping[str, object]:
        """Pin a joined party; return its key for this run, signed."""
        told = replies.pinning(self.study.digest, self.run, self.study.terms(self.plan), self.study.keys)
        (reply,) = self.frames(role, Frame(kind=Kind.PIN, header=told))
        assert reply.kind is Kind.OK, reply.header
        return {name: reply.header[name] for name in ("public", "signature")}

    def close(self, *roles: str) -> None:
        """Close the run at parties and dealer."""
        for role in roles:
            ask(self.project, role, "close", Call(header={"run": self.run}))
