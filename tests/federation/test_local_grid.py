"""The local grid: one node a pull, and a round whose cost grows with the nodes, not with their square."""

from collections.abc import KeysView

import pytest

from fedgenome.errors import RoleError
from fedgenome.federation import site_app
from fedgenome.federation.coordinator import Coordinator
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.wire import Call, from_records, refusal, to_records
from tests.federation.small import make_study

SITES = 5000


class Counting(LocalGrid):
    """Counts the ids that pulls look at, and pulls that were handed a copy of them."""

    def __init__(self, nodes):
        client = site_app.make(lambda context: lambda kind, call: refusal("not-public", str(context.node_id)))
        super().__init__(client, nodes)
        self.looked = self.pulls = self.copies = 0

    def pull_messages(self, message_ids):
        self.pulls += 1
        self.copies += not isinstance(message_ids, KeysView)
        return super().pull_messages(self._count(message_ids))

    def _count(self, message_ids):
        for message_id in message_ids:
            self.looked += 1
            yield message_id


def push(grid):
    call = to_records(Call(header={}))
    return list(grid.push_messages(grid.create_message(call, "query.hello", n, "") for n in grid.get_node_ids()))


def test_a_pull_runs_one_node_the_first_that_is_queued():
    grid = Counting(3)
    ids = push(grid)
    turns = [grid.pull_messages(ids) for _ in range(4)]
    rules = [[from_records(reply.content).refusal[1] for reply in turn] for turn in turns]
    assert rules == [[str(node)] for node in grid.get_node_ids()] + [[]]


def test_a_message_is_run_once_and_a_strange_id_is_nobodys():
    grid = Counting(2)
    first, second = push(grid)
    (reply,) = grid.pull_messages(["strange", second])
    assert reply.metadata.reply_to_message_id == second
    assert not grid.pull_messages([second]) and grid.pull_messages([second, first])


def test_a_round_of_the_coordinator_looks_at_each_of_5000_nodes_once(make_job):
    grid = Counting(SITES)
    with pytest.raises(RoleError, match="expected at least 2 sites of the roster, missing: north, south"):
        Coordinator(make_job(make_study())).conduct(grid)  # every node is asked hello, and refuses
    assert (grid.pulls, grid.looked, grid.copies) == (SITES, SITES, 0)


def test_the_count_sees_a_coordinator_that_starts_from_the_front_each_time():
    grid = Counting(50)
    ids = push(grid)
    for _ in ids:
        grid.pull_messages(ids)
    assert grid.looked == 50 * 51 // 2 and grid.copies == 50
