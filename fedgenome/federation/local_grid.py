"""Flower's Grid in one process: the same ServerApp and ClientApps without a SuperLink."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.constant import NodeStatus
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

_COORDINATOR = 1  # Flower's node id of whoever runs the ServerApp
_FIRST_NODE = 2


class LocalGrid(Grid):
    """A grid whose nodes are ClientApp calls.

    A message runs when its reply is pulled, one node a pull: the coordinator can pass a site's answer
    on while the next site computes nothing yet, and holds one answer at a time.

    Args:
        client_app: The app of every node.
        nodes: Number of nodes; node i has ``partition-id`` i in its node config.
        carry: Takes every message on its way; a test passes it through bytes.
    """

    def __init__(
        self, client_app: ClientApp, nodes: int, carry: Callable[[Message], Message] = lambda message: message
    ) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, _COORDINATOR, 1
        self._app = client_app
        self._carry = carry
        self._contexts = {_FIRST_NODE + i: _context(_FIRST_NODE + i, i, nodes) for i in range(nodes)}
        self._waiting: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """A local grid has the one run."""

    @property
    def run(self) -> Run:
        """The run of this grid."""
        return Run.create_empty(run_id=TaskIdentity.run_id)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Return a message to ``dst_node_id``."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes."""
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Return all nodes, which nobody registered."""
        return [NodeInfo(node_id=node, status=NodeStatus.ONLINE) for node in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; return their ids in order."""
        ids = []
        for message in messages:
            message_id = uuid.uuid4().hex
            message.metadata.__dict__["_message_id"] = message_id  # as Flower's own grids do: there is no setter
            self._waiting[message_id] = message
            ids.append(message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the first of ``message_ids`` that is queued; return its reply, or nothing.

        No id behind that one is looked at, so that a round over S nodes is S steps, not S².
        """
        due = next((message_id for message_id in message_ids if message_id in self._waiting), None)
        return [] if due is None else [self._deliver(self._waiting.pop(due))]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Run every message; return all replies. ``timeout`` cannot pass: a node runs to its end."""
        ids = list(self.push_messages(messages))
        return [reply for message_id in ids for reply in self.pull_messages([message_id])]

    def _deliver(self, message: Message) -> Message:
        message = self._carry(message)
        context = self._contexts.get(message.metadata.dst_node_id)
        if context is None:
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "no such node"), reply_to=message)
        return self._carry(self._app(message, context))


def _context(node: int, partition: int, nodes: int) -> Context:
    config: Mapping[str, int] = {"partition-id": partition, "num-partitions": nodes}
    return Context(run_id=1, node_id=node, node_config=dict(config), state=RecordDict(), run_config={})
