"""The Flower ClientApp of a hospital: a relay between Flower and the site agent, holding no data.

Flower starts a new ClientApp process for every message and runs whatever bundle it is sent, so data,
keys, clipping and ledger live in the long-lived agent (DESIGN §4). Nothing an agent raises passes
through here: it answers with codes.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedgenome.federation import agents, wire
from fedgenome.federation.wire import Call

Reach = Callable[[Context], Callable[[str, Call], Call]]  # a node's context → its agent's ``handle``


def make(reach: Reach) -> ClientApp:
    """Return the ClientApp that relays every kind of call to the agent ``reach`` finds."""
    relay = ClientApp()
    for kind in wire.KINDS:
        relay.query(kind)(_relay(kind, reach))
    return relay


def _relay(kind: str, reach: Reach) -> Callable[[Message, Context], Message]:
    def handle(message: Message, context: Context) -> Message:
        answer = reach(context)(kind, wire.from_records(message.content))
        return Message(wire.to_records(answer), reply_to=message)

    return handle


app = make(agents.by_environment)
