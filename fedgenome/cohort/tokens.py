"""Letters of a sequence ↔ codes of its tokens (:class:`Tokens`): k letters a token, none in two tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from fedgenome.cohort.shard import Array
from fedgenome.errors import SpecError, require
from fedgenome.strict import finding
from fedgenome.study import Vocabulary

Codes = npt.NDArray[np.int64]

_PAIRS = {"A": "T", "C": "G", "G": "C", "T": "A"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A vocabulary: every string of ``k`` letters.

    Codes 0 … size − 1 are the strings in order of ``letters``, the first letter of a string the most significant;
    ``size`` is the code of anything else: a string with N, another IUPAC code, or a gap.

    Attributes:
        letters: The letters, upper case, each once.
        k: Letters a token.

    Raises:
        SpecError: they break a rule of :class:`fedgenome.study.Vocabulary`, such as more strings than two bytes tell
            apart.

    >>> Tokens(k=2).encode("ACGTNA"), Tokens(k=2).size
    (array([ 1, 11, 16]), 16)
    """

    letters: str = "ACGT"
    k: int = 1

    def __post_init__(self) -> None:
        try:
            Vocabulary(letters=self.letters, k=self.k)
        except ValidationError as fault:
            raise SpecError(f"tokens: {finding(fault, Vocabulary)}") from None

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> Self:
        """Return the tokens of a Study's vocabulary."""
        return cls(vocabulary.letters, vocabulary.k)

    @property
    def size(self) -> int:
        """Number of known tokens, V."""
        return int(len(self.letters) ** self.k)

    @property
    def unknown(self) -> int:
        """The code of anything else: V. It may be read by a model, never be its target."""
        return self.size

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """The smallest unsigned integers that hold every code."""
        return np.uint8 if self.unknown < 256 else np.uint16

    def encode(self, text: str | bytes) -> Codes:
        """Return the codes of ``text``, int64 (len(text) // k,); lower case reads as upper, letters left over as none.

        >>> Tokens().encode("ACgtN-")
        array([0, 1, 2, 3, 4, 4])
        """
        raw = text if isinstance(text, bytes) else text.encode("ascii", "replace")
        n = len(raw) // self.k
        digit = np.full(256, -1, np.int64)
        for case in (self.letters, self.letters.lower()):
            digit[list(case.encode())] = np.arange(len(case))
        digits = digit[np.frombuffer(raw, np.uint8, n * self.k)].reshape(n, self.k)
        return np.where((digits < 0).any(axis=1), self.unknown, digits @ self._weights)

    def decode(self, codes: Array) -> str:
        """Return the letters of ``codes`` (tokens,), k for each; an unknown token gives k times N.

        Raises:
            SpecError: a code is not within 0 … V.

        >>> Tokens(k=2).decode(np.array([1, 11, 16]))
        'ACGTNN'
        """
        checked = self._checked(codes)
        alphabet = np.frombuffer((self.letters + "N").encode(), np.uint8)
        digits = np.where((checked == self.unknown)[..., None], len(self.letters), self._digits(checked))
        return alphabet[digits].tobytes().decode("ascii")

    def reverse_complement(self, codes: Array) -> Codes:
        """Return the codes of the other strand, read in its own direction: int64, of the shape of ``codes``.

        Args:
            codes: (…, tokens); each row is turned by itself. Unknown tokens stay unknown.

        Raises:
            SpecError: the letters are not A, C, G and T, or a code is not within 0 … V.

        >>> Tokens().decode(Tokens().reverse_complement(Tokens().encode("AACGN")))
        'NCGTT'
        """
        require(
            set(self.letters) == set(_PAIRS), "letters A, C, G and T to take a reverse complement", letters=self.letters
        )
        checked = self._checked(codes)[..., ::-1]
        paired = np.array([self.letters.index(_PAIRS[letter]) for letter in self.letters])
        turned = paired[self._digits(checked)[..., ::-1]] @ self._weights
        return np.where(checked == self.unknown, self.unknown, turned)

    @property
    def _weights(self) -> Codes:
        """What each letter of a token counts, (k,)."""
        return len(self.letters) ** np.arange(self.k - 1, -1, -1, dtype=np.int64)

    def _digits(self, codes: Codes) -> Codes:
        """Return each token's letters as indices, (…, k); those of an unknown token mean nothing."""
        return codes[..., None] // self._weights % len(self.letters)

    def _checked(self, codes: Array) -> Codes:
        given = np.asarray(codes)
        require(given.dtype.kind in "iu", "codes that are integers", dtype=str(given.dtype))
        within = bool(((given >= 0) & (given <= self.unknown)).all())
        require(within, f"codes from 0 to {self.unknown}")
        return given.astype(np.int64)


def positions(length: int) -> tuple[str, ...]:
    """Return the names of a window's positions, which stand where genes stand in an expression cohort.

    >>> positions(3)
    ('p0001', 'p0002', 'p0003')
    """
    return tuple(f"p{i:04d}" for i in range(1, length + 1))
