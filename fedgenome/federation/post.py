"""Messages over a Flower Grid by the names of roles: who is there, and what each answers.

Flower knows nodes by numbers. Where the SuperLink registered nodes under names (with their keys), a node
*is* that name, whatever the agent behind it says; elsewhere (simulations, a SuperLink without node
authentication) a node is whom it says it is.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping

import httpx
from flwr.app import Message
from flwr.serverapp import Grid
from flwr.supercore.constant import NodeStatus

from fedgenome.errors import RoleError, WireError
from fedgenome.federation.wire import Call, from_records, to_records
from fedgenome.secure.generators import ROLES

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.1
_SLOWEST_POLL_SECONDS = 1.0
_REGISTER_SECONDS = 30.0
_LEAST_SECONDS = 10.0  # that whoever was late is given after the others
_AGAIN_SECONDS = 2.0  # between greetings of roles that are waited for
_AWAY = {5: "its relay is not connected", 4: "its relay lost the message", 3: "its time was over"}  # Flower's codes


class Post:
    """Carries calls to roles by name and their answers back.

    A role answers for itself only: an answer's name is that of the node, not the one it holds.

    Args:
        grid: Any Flower Grid. Where its nodes are registered under names, those bind.
        timeout: Seconds that a role may take for one answer; also how long Flower keeps a message.
        patience: Seconds that :meth:`discover` waits for roles that are being started again.

    Attributes:
        on_change: Called when ``present`` changed while roles are waited for.
    """

    def __init__(self, grid: Grid, timeout: float, patience: float = 0.0) -> None:
        self._grid, self._timeout, self._patience = grid, timeout, patience
        self._registered: dict[int, str] = {}  # what the SuperLink calls its nodes, where it does
        self._said: dict[int, str] = {}  # what other nodes called themselves
        self._nodes: dict[str, int] = {}
        self._refused: dict[str, str] = {}  # why a registered node gave no greeting, where it said
        self._silent: set[str] = set()  # who owes, or never gave, the answer to the last call
        self._awaited: set[str] = set()  # who of those that are waited for is online
        self.on_change: Callable[[], None] = lambda: None

    @property
    def present(self) -> tuple[str, ...]:
        """The names that were found and gave an answer to the last call, and who is online while waited for; sorted."""
        return tuple(sorted((set(self._nodes) - self._silent) | self._awaited))

    def discover(self, wanted: Collection[str], least: int) -> dict[str, Call]:
        """Learn which node is which of ``wanted``; what was known of other names stays.

        Nodes come one by one, so their number is waited for. All that may be one of ``wanted`` are greeted, and
        again while too few are there and patience lasts.

        Args:
            wanted: Names.
            least: Fewest of them that must be there.

        Returns:
            The answer of each that is there to its greeting, by name.

        Raises:
            RoleError: fewer are there, two nodes say the same name, or the SuperLink cannot be reached.
        """
        deadline = time.monotonic() + self._patience
        try:
            while True:
                for name in wanted:
                    self._nodes.pop(name, None)
                    self._refused.pop(name, None)
                greeted = self._greeted(wanted)
                if len(greeted) >= least or time.monotonic() >= deadline:
                    break
                time.sleep(_AGAIN_SECONDS)
        finally:
            self._awaited = set()
        self._nodes |= {name: node for name, (node, _) in greeted.items()}
        self._silent -= set(greeted)
        self.on_change()
        missing = [_with(name, self._refused.get(name)) for name in wanted if name not in greeted]
        if len(greeted) < least:
            whom = "sites of the roster" if set(wanted).isdisjoint(ROLES) else "parties"
            raise RoleError(f"expected at least {least} {whom}, missing: {', '.join(missing)}")
        return {name: answer for name, (_, answer) in greeted.items()}

    def ask(self, kind: str, calls: Mapping[str, Call], late: Collection[str] = ()) -> Iterator[tuple[str, Call]]:
        """Send each name its call; yield (name, answer) as they come, refusals included.

        Names that no node was found for are not asked, unless the SuperLink has a node registered under that name
        by now. Whoever is silent for as long as a role may take gives nothing.

        Args:
            kind: Of the calls.
            calls: By name.
            late: Names that are given no more than twice the time that the slowest of the others takes.

        Raises:
            RoleError: the SuperLink cannot be reached.
        """
        if self._registered and not calls.keys() <= self._nodes.keys():
            self._listed()
            self._nodes = {name: node for node, name in self._registered.items() if name in calls} | self._nodes
        names = {node: name for name in calls if (node := self._nodes.get(name)) is not None}
        self._silent |= set(names.values())
        spare = {node for node, name in names.items() if name in late}
        for node, answer in self._send(kind, {node: calls[name] for node, name in names.items()}, spare):
            if answer.refusal is None or answer.refusal[0] != "unreachable":  # its relay's answer, not its own
                self._silent.discard(names[node])
            yield names[node], answer

    # ── who is there ─────────────────────────────────────────────────────────────────────────────

    def _greeted(self, wanted: Collection[str]) -> dict[str, tuple[int, Call]]:
        """Return node and greeting of each of ``wanted`` that is there."""
        asked = [node for node in self._waited(wanted) if self._name(node) in (None, *wanted)]
        found: dict[str, tuple[int, Call]] = {}
        for node, answer in self._send("hello", dict.fromkeys(asked, Call(header={}))):
            if answer.refusal is not None:
                self._note_refusal(node, answer)
                log.warning("%s refuses to hello: %s (%s)", self._name(node) or f"node {node}", *answer.refusal)
                continue
            name = self._heard(node, answer)
            if name is None or name not in wanted:
                self._note_refusal(node, answer)
                if name not in ROLES:  # their turn comes
                    log.warning("node %d names itself none of those asked for and is left out", node)
                continue
            if name in found:
                raise RoleError(f"two nodes say that they are {name}; expected one for each of the roster")
            found[name] = node, answer
        return found

    def _waited(self, wanted: Collection[str]) -> list[int]:
        """Return the nodes that are online, once ``wanted`` may be among them or a while has passed."""
        deadline = time.monotonic() + min(_REGISTER_SECONDS, self._timeout)
        while True:
            nodes = self._listed()
            names = {self._registered.get(node, "") for node in nodes}
            if (online := names & set(wanted)) != self._awaited:
                self._awaited = online
                self.on_change()
            there = set(wanted) <= names if self._registered else len(nodes) >= len(self._nodes) + len(wanted)
            if there or time.monotonic() > deadline:
                return nodes
            time.sleep(_POLL_SECONDS)

    def _listed(self) -> list[int]:
        """Return the nodes that are online; where any is registered under a name, only those that are."""
        with _superlink():
            nodes = [node for node in self._grid.get_nodes() if node.status == NodeStatus.ONLINE]
        self._registered = {node.node_id: node.name for node in nodes if node.name}
        return list(self._registered) or [node.node_id for node in nodes]

    def _name(self, node: int) -> str | None:
        """Return whom a node is known to be; None before it said anything."""
        return self._registered.get(node) or self._said.get(node)

    def _note_refusal(self, node: int, answer: Call) -> None:
        registered, said = self._registered.get(node), answer.header.get("site")
        if registered is None:
            return
        if answer.refusal is not None:
            self._refused[registered] = f"{answer.refusal[0]}: {answer.refusal[1]}"
        elif said != registered:
            self._refused[registered] = "the agent behind its relay is another's"

    def _heard(self, node: int, answer: Call) -> str | None:
        """Return whom a node that answered is; None if it does not say, or not what it is registered as."""
        said = answer.header.get("site")
        if not isinstance(said, str) or said != self._registered.get(node, said):
            return None
        self._said[node] = said
        return said

    # ── over the grid ────────────────────────────────────────────────────────────────────────────

    def _send(self, kind: str, calls: Mapping[int, Call], late: Collection[int] = ()) -> Iterator[tuple[int, Call]]:
        """Push one message a node; yield (node, answer) until all came, or none for as long as a role may take.

        Those that are ``late`` are not waited for longer than twice as long as the others took.
        """
        waiting = self._pushed(kind, calls)
        begun = heard = time.monotonic()
        while waiting and (silence := time.monotonic() - heard) < self._timeout:
            if set(waiting.values()) <= set(late) and silence > max(heard - begun, _LEAST_SECONDS):
                return  # what they may still answer is nobody's any more
            with _superlink():
                replies = list(self._grid.pull_messages(waiting.keys()))
            for reply in replies:
                node = waiting.pop(reply.metadata.reply_to_message_id)
                if (answer := _answer(self._name(node) or f"node {node}", reply)) is not None:
                    yield node, answer
            if replies:  # one machine's sites answer one after another: each has its own time
                heard = time.monotonic()
            else:
                time.sleep(min(_SLOWEST_POLL_SECONDS, max(_POLL_SECONDS, silence / 10)))

    def _pushed(self, kind: str, calls: Mapping[int, Call]) -> OrderedDict[str, int]:
        """Push one message a node; return the nodes by their messages' ids."""
        if not calls:
            return OrderedDict()
        records = {id(call): to_records(call) for call in calls.values()}
        messages = [
            self._grid.create_message(records[id(call)], f"query.{kind}", node, "", self._timeout)
            for node, call in calls.items()
        ]
        with _superlink():
            ids = list(self._grid.push_messages(messages))
        if len(ids) != len(messages):  # Flower's answer to a message over the limit of a proxy
            raise RoleError(f"the SuperLink took none of {len(messages)} messages ({kind}): they are too large")
        # Ordered: the first key of a plain dict is ever further to find as keys before it are removed.
        return OrderedDict((key, node) for key, node in zip(ids, calls, strict=True) if key)


def _with(name: str, why: str | None) -> str:
    return name if why is None else f"{name} ({why})"


@contextlib.contextmanager
def _superlink() -> Iterator[None]:
    """Tell that the SuperLink failed, and nothing of the message that it was given."""
    try:
        yield
    except httpx.HTTPError as fault:
        raise RoleError(f"the SuperLink cannot be reached: {type(fault).__name__}") from None


def _answer(name: str, reply: Message) -> Call | None:
    if reply.has_error():
        code = reply.error.code
        log.warning("%s gives no answer: %s", name, _AWAY.get(code, f"its relay failed (Flower's code {code})"))
        return None
    try:
        return from_records(reply.content)
    except WireError as fault:
        log.warning("%s: %s", name, fault)
        return None
