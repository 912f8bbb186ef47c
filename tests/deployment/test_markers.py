"""What the coordinator gets to see: no site's vector, no row, no name of a donor, no key of another role.

Between every relay and the SuperLink stands a tap that holds the SuperLink's own certificate: what it records is what
the coordinator can read. That, the SuperLink's database and the job's folder are searched for the exact bytes of each
site's vector, which trust `none` makes a function of its shard, and for what else no coordinator may have. The same
search must find the vectors where secure sums are off.
"""

import base64
import io
import re
import subprocess
import tarfile
from pathlib import Path

import anndata
import numpy as np
import pytest

from experiments.harness import Target
from fedgenome.cohort import expression
from fedgenome.cohort.expression import CohortSpec
from fedgenome.cohort.split import undealt
from fedgenome.deployment import compose
from fedgenome.methods import registry
from fedgenome.query import Query, choose_scale
from fedgenome.secure import ring
from fedgenome.study import Plan, Study
from tests.deployment.driving import public
from tests.deployment.intruders import relay_of

WINDOW = 8  # numbers that stand together in a vector
# A tap: TLS at both ends with the SuperLink's certificate; each way of a connection, whole, goes to a scratch file.
TAP = """
import asyncio, contextlib, os, ssl
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain("/run/secrets/server.crt", "/run/secrets/server.key")
client = ssl.create_default_context(cafile="/run/secrets/ca.crt")
kept = open(os.path.join("/tmp", "tapped"), "ab", buffering=0)
async def carry(source, sink):
    seen = bytearray()
    with contextlib.suppress(OSError):
        while block := await source.read(1 << 16):
            seen += block
            sink.write(block)
            await sink.drain()
    kept.write(seen)
    sink.close()
async def serve(near, answer):
    try:
        far, ask = await asyncio.open_connection("true-superlink", PORT, ssl=client, server_hostname="superlink")
    except OSError:
        return answer.close()
    await asyncio.gather(carry(near, ask), carry(far, answer))
async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", PORT, ssl=server) as listener:
        await listener.serve_forever()
asyncio.run(main())
""".replace("PORT", str(compose.SUPERLINK_PORT))


def tapped(document):
    """Put a tap between the relays and the SuperLink of a compose document."""
    superlink = document["services"]["superlink"]
    relays = [name for name in superlink["networks"] if name.startswith("relay-")]
    tap = {key: superlink[key] for key in ("image", "init", "read_only", "tmpfs", "cap_drop", "secrets", "environment")}
    tap |= {"entrypoint": ["python3", "-c", TAP.replace("$", "$$")], "healthcheck": {"disable": True}}
    tap["networks"] = {"coordinator": {}} | {name: {"aliases": ["superlink"]} for name in relays}
    superlink["networks"] = {"coordinator": {"aliases": ["true-superlink"]}}
    document["services"]["tap"] = tap


@pytest.fixture(scope="module")
def exact(one_query):
    """Factory of experiment files: one query, exact sums of two hospitals, secure or not."""

    def make(secure):
        path = one_query(2, {"site_cap = 400": "site_cap = 525"})
        text = re.sub(r"\[privacy\].*?(?=\n\[\[)", '[privacy]\ntrust = "none"\n', path.read_text(), flags=re.DOTALL)
        text = re.sub(r"^why_epsilon.*$", "", text, flags=re.MULTILINE)
        path.write_text(f'{text}\n[engine]\nsecure = "{secure}"\n')
        return path

    return make


class Seen:
    """One federation after one run: what its coordinator saw, and what it must not have."""

    def __init__(self, project, study, shards):
        self.project, self.study, self.shards = project, study, shards
        self.places = {
            "traffic": b"".join(self.tap()),
            "database": files(project, "superlink", "/state"),
            "job folder": files(project, "superlink", "/jobs"),
        }

    def tap(self):
        """Return what the tap recorded once every connection has ended: relays are stopped first."""
        self.project.compose("stop", "-t", "1", *map(relay_of, compose.roles_of(2)))
        return [files(self.project, "tap", str(Path("/tmp", "tapped")))]

    def found(self, patterns):
        """Return {place: which patterns, by name, are in it}."""
        return {
            place: sorted({name for name, pattern in patterns if pattern in blob})
            for place, blob in self.places.items()
        }


def files(project, service, path):
    """Return the bytes of all files under a path of a container, one after another."""
    packed = subprocess.run(
        ["docker", "exec", project.container(service), "tar", "-c", "-C", "/", path.lstrip("/")],
        capture_output=True, check=False,
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        return b"\n".join(archive.extractfile(one).read() for one in archive if one.isfile())


def shard_of(project, number, study, folder):
    """Return a hospital's shard as it reads it, and the names of its rows."""
    path = folder / f"{number}.h5ad"
    blob = subprocess.run(
        ["docker", "exec", project.container(f"agent-{number}"), "cat", "/data/cohort.h5ad"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    path.write_bytes(blob)
    schema = study.schema_
    spec = CohortSpec(source=str(path), label="label", labels=schema.labels, scale="log", panel=schema.genes,
                      low=schema.low, high=schema.high, public=True)  # fmt: skip
    names = [str(name) for name in anndata.read_h5ad(path).obs_names]
    return undealt(expression.align(expression.read(spec), schema)), names


@pytest.fixture(scope="module")
def seen(project, exact, tmp_path_factory):
    """Factory of federations that ran once, with and without secure sums; one is up at a time."""

    def make(secure):
        up = project(sites=2, experiment=exact(secure), change=tapped)
        up.up()
        up.wait_healthy([name for name in compose.document(2)["services"] if name not in ("consortium", "coordinator")])
        done = up.conduct()
        assert done.returncode == 0, done.stdout + done.stderr
        study = Study.model_validate(public(up, "study.json")["study"])
        folder = tmp_path_factory.mktemp("shards")
        return Seen(up, study, [shard_of(up, number, study, folder) for number in (1, 2)])

    return make


def vectors(seen):
    """Return each site's vector of the one query, float64, and its ring words: a function of its shard."""
    (method,) = registry.build_all(seen.study).values()
    question = method.ask(method.start(np.random.default_rng(0)))
    terms = seen.study.terms(Plan())
    when = {"study": seen.study.digest, "run": "", "method": method.name, "step": 0, "attempt": 0}
    query = Query(question=question, terms=terms, scale=choose_scale(question, terms), **when)
    values = [method.answer(question, shard, None).value for shard, _ in seen.shards]
    return values, [ring.encode(value.copy(), query.scale, query.width) for value in values]


def windows(own, other, most=40):
    """Yield places of a vector where it is its own: not the sum of both, nor nearly nothing."""
    starts = [
        at
        for at in range(0, len(own) - WINDOW, WINDOW)
        if np.count_nonzero(own[at : at + WINDOW]) > 2
        and len(np.unique(own[at : at + WINDOW])) > 2
        and np.any(other[at : at + WINDOW])
    ]
    return [slice(at, at + WINDOW) for at in starts[:most]]


def forms(numbers):
    """Yield (name, bytes) of numbers as anybody might write them."""
    for kind in ("<f4", ">f4", "<f8", ">f8", "<u4", ">u4", "<u8", ">u8"):
        if np.all(numbers == np.asarray(numbers).astype(kind)):
            raw = np.asarray(numbers).astype(kind).tobytes()
            yield kind, raw
            yield f"{kind} hex", raw.hex().encode()
            for shift in range(3):
                yield f"{kind} base64", base64.b64encode(raw[shift : shift + (len(raw) - shift) // 3 * 3])
    yield "text", ", ".join(str(float(one)) for one in numbers).encode()
    yield "text", ",".join(str(int(one)) for one in numbers).encode()


def planted(seen):
    """Return (name, bytes) of every site's vector, plain and in ring words, window by window."""
    values, words = vectors(seen)
    return [
        (f"{what} of site-{i + 1}", pattern)
        for what, each in (("vector", values), ("ring words", words))
        for i in range(2)
        for window in windows(each[i], each[1 - i])
        for _, pattern in forms(each[i][window])
    ]


def secrets_of(seen):
    """Return (name, bytes) of rows, labels in their order, names of rows, and private keys of all roles."""
    for number, (shard, names) in enumerate(seen.shards, 1):
        rows = [row[np.flatnonzero(row)[0] :][:WINDOW] for row in shard.x if np.count_nonzero(row) > WINDOW]
        yield from ((f"row of site-{number}", pattern) for row in rows[:50] for _, pattern in forms(row))
        yield from ((f"row's name of site-{number}", name.encode()) for name in names if len(name) > 7)
        for kind in (np.int8, np.int32, np.int64):
            yield f"labels of site-{number}", shard.label[:64].astype(kind).tobytes()
    for role in compose.roles_of(2):
        service = role.replace("site-", "agent-")
        for name in ("identity.pem", "node.key"):
            body = [
                line for line in files(seen.project, service, f"/state/{name}").splitlines() if b"-----" not in line
            ]
            blob = b"".join(body)
            # An Ed25519 key is the end of its file; of a node key the end is padding, and the public half comes first.
            text, raw = (blob[-40:], base64.b64decode(blob)[-32:])
            if name == "node.key":
                text, raw = (blob[-64:-24], base64.b64decode(blob)[-50:-18])
            assert len(text) == 40 and len(raw) == 32
            yield from ((f"{name} of {role}", pattern) for pattern in (text, raw, raw.hex().encode()))
        key = files(seen.project, service, "/state/socket.key").strip()
        yield from ((f"socket.key of {role}", pattern) for pattern in (key, bytes.fromhex(key.decode())))


def test_the_coordinator_s_traffic_database_and_jobs_hold_no_plaintext(seen, measured):
    secure = seen("on")
    patterns = [*planted(secure), *secrets_of(secure)]
    found = secure.found(patterns)
    sizes = {place: len(blob) for place, blob in secure.places.items()}
    for place, names in found.items():
        target = Target(name=f"kinds of markers in the {place}", value=len(names), target=0, sense="at most")
        outcome = f"{', '.join(names) or 'no marker'} in {sizes[place]} bytes"
        measured("intruders", target, who="the coordinator, who searches for markers", where=place,
                 messages=len(patterns), outcome=outcome)  # fmt: skip
    secure.project.down()
    assert len(patterns) > 1000 and min(sizes.values()) > 1000 and b"query.ask" in secure.places["traffic"]
    assert found == {"traffic": [], "database": [], "job folder": []}


def test_the_same_search_finds_the_vectors_where_secure_sums_are_off(seen, measured):
    plain = seen("off")
    patterns = [*planted(plain), *secrets_of(plain)]
    found = plain.found(patterns)
    measured("intruders", Target(name="sites whose vector the search finds", value=len(found["traffic"]), target=2,
                                 sense="at least"), who="the coordinator, secure sums off", where="traffic",
             outcome=", ".join(found["traffic"]), messages=len(patterns))  # fmt: skip
    plain.project.down()
    assert found["traffic"] == ["ring words of site-1", "ring words of site-2"]
