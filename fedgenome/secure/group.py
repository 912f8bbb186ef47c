"""A party's meeting with the other two and the dealer, for comparisons: joined while sites still compute."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from fedgenome.errors import FedgenomeError, RoleError
from fedgenome.query import Terms, digest_of
from fedgenome.secure import crypten_runtime
from fedgenome.secure.crypten_runtime import Machine
from fedgenome.secure.generators import Meeting
from fedgenome.secure.identity import Identity
from fedgenome.secure.joining import join
from fedgenome.secure.links import Links


def meeting(study: str, run: str, terms: Terms, identities: Sequence[str], addresses: Sequence[str]) -> Meeting:
    """Return the meeting of a run: parties and dealer that were told other terms do not meet.

    Args:
        identities: The roster's parties, in order, then its dealer.
        addresses: Where each party listens.
    """
    session = digest_of("session", [study, run, terms.digest])
    return Meeting(session=session, identities=tuple(identities), addresses=tuple(addresses))


class Group:
    """One party's place in the group. CrypTen serves one group in a process's life.

    Args:
        rank: The party.
        identity: Its key in the roster.
        addresses: Where each party listens.
        timeout_seconds: Silence of a peer that counts as its failure.
    """

    def __init__(self, rank: int, identity: Identity, addresses: Sequence[str], timeout_seconds: float) -> None:
        self._rank, self._identity, self._timeout = rank, identity, timeout_seconds
        self.addresses = tuple(addresses)
        self._joining: threading.Thread | None = None
        self._links: Links | FedgenomeError | None = None
        self._machine: Machine | None = None

    def meet(self, where: Meeting) -> None:
        """Begin to meet; again, it does nothing."""
        if self._joining is None:
            self._joining = threading.Thread(target=self._join, args=(where,), daemon=True)
            self._joining.start()

    def machine(self) -> Machine:
        """Wait until all have come, and return this party's end of the computation.

        Raises:
            RoleError: someone did not come, or is another than the roster says.
        """
        if self._machine is None:
            if self._joining is not None:
                self._joining.join()  # ends: joining is bounded
            if not isinstance(self._links, Links):
                raise RoleError(str(self._links or "no meeting was named"))
            # Here, not in the thread: the number of torch's threads is the caller's own.
            self._machine = crypten_runtime.bind(self._links)
        return self._machine

    def _join(self, where: Meeting) -> None:
        try:
            self._links = join(where, self._rank, self._identity.key, self._timeout)
        except FedgenomeError as fault:  # told to whoever needs the group: sums go on without it
            self._links = fault
