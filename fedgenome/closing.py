"""What ends with its ``with`` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """A holder of files, sockets or processes: leaving its ``with`` block closes it."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Give up what is held. Repeating it does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        self.close()
