"""Write the wire vectors: ``python -m tests.vectors.generate [--all] [folder]``, from the repository's root.

Everything is derived from labels but HPKE's ciphertexts, which nothing can repeat: those that the folder
holds already are used again, so that only what changed is written anew. ``--all`` makes them anew too.
Each structure has one function in ``cases/``, ``library.py`` and ``reading/``.
"""

import argparse
import contextlib
import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fedgenome.query import Query
from fedgenome.secure import bundle, envelope
from fedgenome.secure.envelope import PublicKey
from tests.vectors.cases import agreed, files, links, messages, queries, sealed
from tests.vectors.check import patched
from tests.vectors.library import STRUCTURES, outcome, party_key_of

CASES = {
    name: vars(module)[name]
    for module in (agreed, queries, sealed, messages, files, links)
    for name in STRUCTURES
    if name in vars(module)
}
HERE = Path(__file__).resolve().parent / "v1"
Case = dict[str, Any]


class Vectors:
    """One structure's vectors as they are gathered.

    Args:
        structure: A name of ``library.STRUCTURES``.
        seals: Where sealed secrets come from.
    """

    def __init__(self, structure: str, seals: "Seals") -> None:
        self.structure, self.seals = structure, seals
        self.good_cases: list[Case] = []
        self.bad_cases: list[Case] = []

    def good(self, name: str, **given: Any) -> Case:
        """Add what fedgenome takes; return ``given``."""
        given = _plain(given)
        gives = outcome(self.structure, given)
        if isinstance(gives, str):
            raise SystemExit(f"{self.structure}, {name}: fedgenome refuses it, {gives}")
        self.good_cases.append({"name": name, "given": given, "gives": gives})
        return given

    def bad(self, name: str, wrong: str, **given: Any) -> None:
        """Add what fedgenome refuses; ``wrong`` says why, in one sentence. It is written as a patch of a good case."""
        given = _plain(given)
        error = outcome(self.structure, given)
        if not isinstance(error, str):
            raise SystemExit(f"{self.structure}, {name}: fedgenome does not refuse it")
        plain = {"given": given}
        patches = [
            {"of": case["name"], "patch": patch}
            for case in self.good_cases
            if set(case["given"]) == set(given)
            for patch in [difference(case["given"], given)]
            if _text(patched(case["given"], patch)) == _text(given)
        ]
        shortest = min([*patches, plain], key=lambda case: len(json.dumps(case)))
        self.bad_cases.append({"name": name, "wrong": wrong, **shortest, "gives": "refused", "error": error})

    def bads(self, field: str, of: Case, wrongs: Mapping[str, tuple[str, Any]]) -> None:
        """Add bad cases that differ from ``of`` in one field: by name, what is wrong and the field's value."""
        for name, (wrong, value) in wrongs.items():
            self.bad(name, wrong, **of | {field: value})


def difference(old: Any, new: Any) -> Any:
    """Return a patch that ``check.patched`` turns ``old`` into ``new`` with, where there is one."""
    if isinstance(old, dict) and isinstance(new, dict):
        changed = {
            name: difference(old[name], value)
            for name, value in new.items()
            if name in old and _text(old[name]) != _text(value)
        }
        added = {name: value for name, value in new.items() if name not in old}
        return {name: None for name in old if name not in new} | changed | added
    if isinstance(old, str) and isinstance(new, str) and len(old) > 100:
        return {"~": _splice(old, new)}
    return new


def _plain(value: Case) -> Case:
    """Return what a reader of the file will have: lists for tuples."""
    plain: Case = json.loads(json.dumps(value))
    return plain


def _text(value: object) -> str:
    """Return what tells 1, 1.0 and true apart."""
    return json.dumps(value, sort_keys=True)


def _splice(old: str, new: str) -> list[Any]:
    """Return [from, to, put]: the bytes of ``old`` that are replaced, both texts being hex."""
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter) // 2 * 2
    same = next((i for i in range(shorter - start) if old[-1 - i] != new[-1 - i]), shorter - start) // 2 * 2
    return [start // 2, (len(old) - same) // 2, new[start : len(new) - same]]


class Seals:
    """Sealed secrets, used again where key, context and secret are the same.

    Args:
        folder: Holds earlier vectors, or none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._held: dict[tuple[str, str, str], str] = {}
        self._keys: dict[bytes, str] = {}
        self.used: list[tuple[str, str, str, str]] = []
        file = folder and folder / "sealed_secret.json"
        for case in json.loads(file.read_text())["good"] if file and file.exists() else ():
            given = case["given"]
            if outcome("sealed_secret", given) == case["gives"]:
                self._held[given["key"], given["info"], case["gives"]["secret"]] = given["sealed"]

    def public(self, key: str) -> PublicKey:
        """Return the public half of a key (hex of 96 bytes), to which things may then be sealed."""
        made = party_key_of(key).public
        self._keys[made.raw] = key
        return made

    def seal(self, secret: bytes, public: PublicKey, info: bytes) -> bytes:
        """Stand in for ``envelope.seal_small``."""
        what = (self._keys[public.raw], info.hex(), secret.hex())
        if what not in self._held:
            self._held[what] = self._fresh(secret, public, info).hex()
        self.used.append((*what, self._held[what]))
        return bytes.fromhex(self._held[what])

    _fresh = staticmethod(envelope.seal_small)

    @contextlib.contextmanager
    def drawing(self, label: str) -> Iterator[None]:
        """Within this, seeds and content keys follow from ``label``, and secrets are sealed by :meth:`seal`."""
        counter = iter(range(1000))

        def draw(n_bytes: int) -> bytes:
            return hashlib.sha256(f"{label} {next(counter)}".encode()).digest()[:n_bytes]

        with (
            patch.object(secrets, "token_bytes", draw),
            patch.object(bundle, "seal_small", self.seal),
            patch.object(envelope, "seal_small", self.seal),
        ):
            yield

    def parts(self, query: Query, site: str, index: int, words: Any, keys: list[str]) -> tuple[bytes, bytes, bytes]:
        """Return a site's three parts."""
        publics = [self.public(key) for key in keys]
        with self.drawing(f"{query.digest} {site}"):
            return bundle.seal(query, site, index, words, publics)


def generate(folder: Path | None) -> dict[str, Any]:
    """Return every file's content, by structure, with the ciphertexts of ``folder``."""
    seals = Seals(folder)
    files = {}
    # Sealed secrets last: their file also holds those that others use.
    for structure in sorted(STRUCTURES, key=lambda name: name == "sealed_secret"):
        gathered = Vectors(structure, seals)
        means = CASES[structure](gathered)
        files[structure] = {
            "structure": structure,
            "means": means,
            "good": gathered.good_cases,
            "bad": gathered.bad_cases,
        }
    return files


def text_of(content: Case) -> str:
    """Return a file's text, a case a line."""
    head, *_ = json.dumps({name: x for name, x in content.items() if name not in ("good", "bad")}, indent=1).rpartition(
        "\n"
    )
    lists = (f' "{which}": [\n' + ",\n".join(map(_line, content[which])) + "\n ]" for which in ("good", "bad"))
    return ",\n".join([head, *lists]) + "\n}\n"


def _line(case: Case) -> str:
    return "  " + json.dumps(case, separators=(",", ":"), allow_nan=False)


def main(arguments: list[str] | None = None) -> None:
    """Write the files and take away those of structures that are no more."""
    parser = argparse.ArgumentParser(description="Write the wire vectors.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    parser.add_argument("--all", action="store_true", help="make ciphertexts anew too")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder
    files = generate(None if chosen.all else folder)
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json"):
        if old.stem not in files:
            old.unlink()
    for structure, content in files.items():
        (folder / f"{structure}.json").write_text(text_of(content))


if __name__ == "__main__":
    main()
