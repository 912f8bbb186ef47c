"""Messages by the names of roles: who may stand for whom, who is asked, and what silence means."""

import httpx
import pytest
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.constant import NodeStatus

from fedgenome.errors import RoleError
from fedgenome.federation import site_app
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.post import Post
from fedgenome.federation.wire import Call, refusal

SITES = ("north", "south")


class Says:
    """A role's agent: it names itself so, and keeps what it was asked."""

    def __init__(self, name):
        self.name, self.asked = name, []

    def handle(self, kind, call):
        self.asked.append(kind)
        return Call(header={"site": self.name, "told": call.header.get("told")})


class Registered(LocalGrid):
    """A SuperLink that registered its nodes under names, some of which are away."""

    def __init__(self, client, names, away=()):
        super().__init__(client, len(names))
        self.names, self.away = names, away

    def get_nodes(self):
        for node, name in zip(self._contexts, self.names, strict=True):
            status = NodeStatus.OFFLINE if name in self.away else NodeStatus.ONLINE
            yield NodeInfo(node_id=node, status=status, name=name)


def post(agents, names=None, timeout=1.0, **changes):
    client = site_app.make(lambda context: agents[int(context.node_config["partition-id"])].handle)
    grid = LocalGrid(client, len(agents)) if names is None else Registered(client, names, **changes)
    return Post(grid, timeout)


def test_each_name_is_given_its_own_call_and_answers_for_itself():
    agents = [Says("south"), Says("north")]
    carried = post(agents)
    assert set(carried.discover(SITES, 2)) == set(SITES)
    answers = dict(carried.ask("join", {name: Call(header={"told": name}) for name in SITES}))
    assert {name: answer.header["told"] for name, answer in answers.items()} == {name: name for name in SITES}


def test_refusals_are_handed_on():
    agents = [Says("north"), Says("south")]
    carried = post(agents)
    carried.discover(SITES, 2)
    agents[1].handle = lambda kind, call: refusal("budget", "spent")
    answers = dict(carried.ask("join", dict.fromkeys(SITES, Call(header={}))))
    assert answers["north"].refusal is None and answers["south"].refusal == ("budget", "spent")


def test_a_registered_name_binds_whatever_the_agent_calls_itself(caplog):
    carried = post([Says("north"), Says("north")], names=SITES)
    assert set(carried.discover(SITES, 1)) == {"north"} and carried.present == ("north",)
    assert "names itself none of those asked for" in caplog.text


def test_who_is_online_is_present_while_the_others_are_awaited():
    carried = post([Says("north"), Says("south")], names=SITES, away=("south",))
    seen = []

    def note():
        seen.append(carried.present)
        carried._grid.away = ()  # south comes once it was missed

    carried.on_change = note
    assert set(carried.discover(SITES, 2)) == set(SITES)
    assert seen[:2] == [("north",), SITES] and carried.present == SITES


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            refusal("unreachable", "the relay's socket.key is not its agent's"),
            "unreachable: the relay's socket.key is not",
        ),
        (Call(header={"site": "north"}), "the agent behind its relay is another's"),
    ],
)
def test_a_registered_node_whose_greeting_does_not_count_is_missed_by_name_and_reason(answer, why):
    agents = [Says("north"), Says("south")]
    agents[1].handle = lambda kind, call: answer
    with pytest.raises(RoleError, match=rf"missing: south \({why}"):
        post(agents, names=SITES).discover(SITES, 2)


def test_beside_registered_nodes_an_unnamed_one_is_not_even_greeted():
    agents = [Says("north"), Says("south"), Says("south")]
    assert set(post(agents, names=("north", "", "south")).discover(SITES, 2)) == set(SITES)
    assert [agent.asked for agent in agents] == [["hello"], [], ["hello"]]


def test_two_nodes_registered_under_one_name_are_refused():
    with pytest.raises(RoleError, match="two nodes say that they are north"):
        post([Says("north"), Says("north")], names=("north", "north")).discover(("north",), 1)


def test_a_node_that_is_away_is_not_asked_and_is_missed_by_name():
    agents = [Says("north"), Says("south")]
    carried = post(agents, names=SITES, away=("south",), timeout=0.2)
    with pytest.raises(RoleError, match="expected at least 2 sites of the roster, missing: south"):
        carried.discover(SITES, 2)
    assert agents[1].asked == []


def test_a_node_that_came_back_is_found_by_the_next_discovery():
    carried = post([Says("north"), Says("south")], names=SITES, away=("south",), timeout=0.2)
    carried.discover(SITES, 1)
    carried._grid.away = ()
    carried.discover(SITES, 2)
    assert carried.present == SITES


def test_a_role_that_is_started_again_is_waited_for_while_patience_lasts(monkeypatch):
    monkeypatch.setattr("fedgenome.federation.post._AGAIN_SECONDS", 0.01)
    agents = [Says("north"), Says("south")]
    answers = iter([refusal("unreachable", "gone")] * 3)
    agents[1].handle = lambda kind, call: next(answers, Call(header={"site": "south"}))
    carried = post(agents, names=SITES, timeout=5.0)
    carried._patience = 5.0
    assert set(carried.discover(SITES, 2)) == set(SITES)


def test_a_relay_that_connects_late_is_asked_from_then_on():
    carried = post([Says("north"), Says("south")], names=SITES, away=("south",), timeout=0.2)
    carried.discover(SITES, 1)
    carried._grid.away = ()
    answers = dict(carried.ask("join", dict.fromkeys(SITES, Call(header={}))))
    assert set(answers) == set(SITES) and carried.present == SITES


class Deaf(Registered):
    """A SuperLink at which the messages to one name lie for ever."""

    def push_messages(self, messages):
        ids = super().push_messages(messages)
        deaf = list(self._contexts)[self.names.index("south")]
        self._waiting = {key: one for key, one in self._waiting.items() if one.metadata.dst_node_id != deaf}
        return ids


def test_who_was_late_is_not_waited_for_as_long_as_others(monkeypatch):
    monkeypatch.setattr("fedgenome.federation.post._LEAST_SECONDS", 0.1)
    agents = [Says("north"), Says("south")]
    carried = post(agents, names=SITES, timeout=60.0)
    carried.discover(SITES, 2)
    carried._grid.__class__ = Deaf
    answers = dict(carried.ask("ask", dict.fromkeys(SITES, Call(header={})), late=["south"]))
    assert set(answers) == {"north"} and carried.present == ("north",)


def test_a_relay_that_answers_for_an_agent_that_is_gone_makes_it_no_more_present(caplog):
    agents = [Says("north"), Says("south")]
    carried = post(agents, names=SITES)
    carried.discover(SITES, 2)
    agents[1].handle = lambda kind, call: refusal("unreachable", "gone")
    assert len(dict(carried.ask("ask", dict.fromkeys(SITES, Call(header={}))))) == 2
    assert carried.present == ("north",)
    carried.discover(SITES, 1)
    assert "south refuses to hello: unreachable (gone)" in caplog.text


def test_parties_and_sites_are_found_one_after_the_other():
    agents = [Says("north"), Says("party-0"), Says("south")]
    carried = post(agents)
    carried.discover(SITES, 2)
    carried.discover(("party-0",), 1)
    assert carried.present == ("north", "party-0", "south")
    assert [len(agent.asked) for agent in agents] == [1, 2, 1]  # who is known as another is not greeted again


def test_a_name_that_nobody_has_is_not_asked_and_whoever_gives_no_answer_is_not_present():
    carried = post([Says("north"), Says("south")])
    carried.discover(SITES, 2)
    del carried._grid._contexts[carried._nodes["south"]]  # Flower answers in its place with an error
    answers = dict(carried.ask("join", dict.fromkeys((*SITES, "west"), Call(header={}))))
    assert set(answers) == {"north"} and carried.present == ("north",)


@pytest.mark.parametrize("broken", ["get_nodes", "push_messages", "pull_messages"])
def test_a_superlink_that_is_away_is_a_role_error_without_its_text(broken, monkeypatch):
    def away(*_):
        raise httpx.ConnectError("http://secret")

    carried = post([Says("north")])
    monkeypatch.setattr(carried._grid, broken, away)
    with pytest.raises(RoleError, match=r"the SuperLink cannot be reached: ConnectError$"):
        carried.discover(("north",), 1)


def test_a_message_that_is_too_large_for_the_superlink_says_so(monkeypatch):
    carried = post([Says("north")])
    monkeypatch.setattr(carried._grid, "push_messages", lambda messages: [])
    with pytest.raises(RoleError, match=r"took none of 1 messages \(hello\): they are too large"):
        carried.discover(("north",), 1)
