"""What a doctor finds at a hospital itself; nothing passes that was not tested."""

import os

import pytest

from fedgenome.deployment import roles
from fedgenome.deployment.hospital import approvals, doctor, findings, fitness, withdrawn
from fedgenome.deployment.hospital.doctor import Given
from fedgenome.deployment.hospital.findings import Finding
from fedgenome.errors import SpecError
from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.secure.roster import RosterFile
from tests.deployment_roles.hospitals import KEY, NAME, SCHEMA, agreed, signed
from tests.deployment_roles.tls import HOST, Authority, serving
from tests.federation.small import CAP, PARTY_IDS, SITE_IDS, make_shard

STUDY = agreed()
GIB = 1 << 30


def roster(**changes):
    sites = {name: one.public for name, one in SITE_IDS.items()} | changes
    return RosterFile(sites=tuple(sites.items()), parties=tuple(one.public for one in PARTY_IDS))


@pytest.fixture
def ready(settled):
    """A hospital whose state folder is as `keys request` makes it."""

    def build(shard=None, **changes):
        config = settled(shard, **changes)
        config.state.chmod(0o700)
        for name in (roles.NODE_KEY, roles.SOCKET_KEY):
            (config.state / name).touch()
            (config.state / name).chmod(0o600)
        return config

    return build


def states(found):
    return {one.check: one.state for one in found}


# ---- The whole


def test_site_that_is_ready_passes_every_check(ready, tmp_path):
    config, authority = ready(), Authority(tmp_path / "tls")
    signed(STUDY).save(tmp_path / "study.json")
    roster().save(tmp_path / "roster.toml")
    named = {"roster": tmp_path / "roster.toml", "study": tmp_path / "study.json", "authority": authority.path}
    answering = agents.listening([lambda *_: Call(header={"site": NAME})], config.socket, KEY)
    with answering, serving(context=authority.context()) as port:
        found = doctor.examine(config, Given(superlink=f"{HOST}:{port}", **named))
    assert set(states(found).values()) == {"ok"} and len(found) == 18


def test_what_was_not_given_is_not_tested(ready):
    found = doctor.examine(ready(), Given())
    assert {one.check for one in found if one.state == "not tested"} == {
        *("roster", "authority", "port", "tls", "certificate", "http", "clock", "upload"),
        *("policy", "data", "donors", "memory"),
    }
    said = findings.text(found)
    assert "not tested port: no --superlink and no --certificates" in said and "not tested data: no --study" in said


@pytest.mark.parametrize("option", ["superlink", "authority", "roster", "study"])
def test_file_or_address_that_is_none_is_one_error(ready, tmp_path, option):
    given = {"superlink": "nowhere", "authority": Authority(tmp_path / "tls").path}
    given |= {} if option == "superlink" else {"superlink": "h:1", option: tmp_path / "none"}
    with pytest.raises(SpecError, match=r"none: expected|--superlink: expected"):
        doctor.examine(ready(), Given(**given))


@pytest.mark.parametrize(("state", "remedy"), [("failed", ""), ("ok", "do"), ("not tested", "do")])
def test_finding_has_a_remedy_exactly_where_it_failed(state, remedy):
    with pytest.raises(SpecError, match="a remedy where a check failed"):
        Finding(check="x", state=state, found="y", remedy=remedy)


# ---- Keys


def test_files_that_others_may_use_fail_with_the_command_that_mends_them(ready):
    config = ready()
    assert set(states(fitness.keys(config.state)).values()) == {"ok"}
    config.state.chmod(0o755)
    (config.state / "socket.key").chmod(0o640)
    (config.state / "node.key").unlink()
    found = {one.check: one for one in fitness.keys(config.state)}
    assert found["state folder"].remedy == f"chmod 700 {config.state}"
    assert "mode 640" in found["socket.key"].found and found["socket.key"].remedy.startswith("chmod 600")
    assert found["node.key"].found == "no such file" and found[IDENTITY].state == "ok"


OTHER = Identity.generate()


@pytest.mark.parametrize(
    ("named", "state", "found"),
    [
        ((roster(), STUDY), "ok", "in the roster and the study"),
        ((None, STUDY), "ok", "in the study"),
        ((None, None), "not tested", "no --roster and no --study"),
        ((roster(north=OTHER.public), STUDY), "failed", "the roster has another key"),
        ((roster(), agreed("none", secure="off")), "failed", "the study has no key for north"),
    ],
)
def test_sites_own_key_is_looked_for_under_its_name(ready, named, state, found):
    seen = fitness.identity(ready(), *named)
    assert seen.state == state and found in seen.found


def test_identity_that_cannot_be_read_fails(ready):
    config = ready()
    (config.state / IDENTITY).unlink()
    assert fitness.identity(config, roster(), None).state == "failed"


@pytest.mark.parametrize(
    ("name", "key", "state"), [(NAME, KEY, "ok"), ("south", KEY, "failed"), (NAME, b"x", "failed")]
)
def test_agent_must_answer_by_its_name_to_the_key_of_the_folder(ready, name, key, state):
    config = ready()
    with agents.listening([lambda *_: Call(header={"site": name})], config.socket, key):
        assert fitness.agent(config).state == state
    assert fitness.agent(config).state == "failed"


# ---- Study and data


def test_study_is_put_before_the_policy(ready):
    config = ready()
    assert "not approved yet" in fitness.allowed(config, signed(STUDY)).found
    approvals.approve(config, signed(STUDY))
    assert fitness.allowed(config, signed(STUDY)).found.endswith("and approved")
    weak = fitness.allowed(config, signed(agreed(quorum=1)))
    assert weak.state == "failed" and weak.found.startswith("policy.quorum")


def test_data_that_do_not_fit_fail_and_nothing_behind_them_passes(ready, tmp_path):
    signed(agreed(schema=SCHEMA | {"genes": ["A", "Z"]})).save(tmp_path / "study.json")
    found = {one.check: one for one in doctor.examine(ready(), Given(study=tmp_path / "study.json"))}
    assert found["data"].state == "failed" and "'Z'" in found["data"].found
    assert (found["donors"].state, found["memory"].state, found["disk"].state) == ("not tested", "not tested", "ok")


@pytest.mark.parametrize(("donors", "state"), [(CAP, "ok"), (CAP + 1, "failed")])
def test_donors_are_counted_against_the_public_cap(ready, donors, state):
    found = fitness.donors(ready(), STUDY, make_shard(donors))
    assert found.state == state and found.found.startswith(f"{donors}, ")


def test_roster_without_this_site_fails(ready):
    config = ready().model_copy(update={"name": "west"})
    assert fitness.donors(config, STUDY, make_shard(1)).state == "failed"


def test_donors_who_withdrew_are_not_counted(ready):
    config = ready()
    withdrawn.add(config.state, "donor-3")
    assert fitness.data(config, STUDY)[1].n_donors == 19


# ---- Disk and memory


@pytest.mark.parametrize(("free", "state"), [(2 * GIB, "ok"), (GIB, "ok"), (GIB - 1, "failed")])
def test_disk_and_memory_are_compared_with_the_need(tmp_path, free, state):
    assert fitness.disk(tmp_path, GIB, free).state == fitness.memory(GIB, free).state == state


def test_free_disk_is_what_the_system_says(tmp_path):
    found = os.statvfs(tmp_path)
    assert fitness.disk(tmp_path, 2 * found.f_frsize * found.f_blocks).state == "failed"
    assert fitness.disk(tmp_path, 1).state == "ok"


def test_memory_that_nobody_tells_is_not_tested(tmp_path):
    assert fitness.available(tmp_path / "none") is None
    assert fitness.memory(1, None).state == "not tested"


@pytest.mark.parametrize(
    ("limit", "used", "free"),
    [("max", "0", 5 << 20), ("3145728", "1048576", 2 << 20), ("1", "9", 0), (None, "", 5 << 20)],
)
def test_memory_is_the_systems_or_the_containers_if_that_is_less(tmp_path, limit, used, free):
    (tmp_path / "meminfo").write_text("MemTotal: 9999 kB\nMemAvailable: 5120 kB\n")
    if limit:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text(used)
    assert fitness.available(tmp_path / "meminfo", tmp_path) == free


@pytest.mark.parametrize("trust", ["distributed", "local", "none"])
def test_longer_answers_need_more_memory_and_disk(trust):
    small, large = (
        fitness.need(
            agreed(trust, methods=[{"kind": "cvae", "options": {"rounds": 4, "sampling": 0.5, "hidden": hidden}}]),
            make_shard(4),
        )
        for hidden in (4, 400)
    )
    assert large.memory - small.memory > 8 * (large.disk - small.disk) / 2 > 0
