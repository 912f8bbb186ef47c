"""Releases: model arrays, synthetic data, card and ledger in one folder, written whole or not at all.

The bytes depend on the content alone: no times, no ids, no pickle. A candidate is built beside its
final place and renamed, so that a crash leaves no half-written release (DESIGN §8).
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import h5py
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from fedgenome import files
from fedgenome.card import FORMAT, guarantee_line
from fedgenome.errors import SpecError, require
from fedgenome.query import Array
from fedgenome.study import Schema

MODEL, SYNTHETIC, LEDGER, CARD = "model.safetensors", "synthetic.h5ad", "ledger.jsonl", "card.json"
_T = TypeVar("_T")
_Rows: TypeAlias = "tuple[dict[str, Synthetic], tuple[str, ...], tuple[str, ...]]"  # by method; genes; labels
_HIDDEN_IF_SEEDED = frozenset(
    ("account", "command", "created", "engine", "environment", "host", "key", "roster_digest", "run", "time")
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Synthetic:
    """Rows that one method generated.

    Attributes:
        x: float32 (rows, genes), expression.
        label: int64 (rows,), index into the schema's labels.
    """

    x: Array
    label: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Release:
    """What a release folder holds.

    Attributes:
        arrays: The released arrays, by method and name.
        card: The release card.
        ledger: The ledger's records.
        synthetic: Generated rows, by method.
        genes: Columns of the synthetic rows.
        labels: Names of the label codes.
    """

    arrays: dict[str, dict[str, Array]]
    card: dict[str, Any]
    ledger: tuple[dict[str, Any], ...]
    synthetic: dict[str, Synthetic]
    genes: tuple[str, ...]
    labels: tuple[str, ...]


def write_candidate(
    folder: Path,
    *,
    arrays: Mapping[str, Mapping[str, Array]],
    card: Mapping[str, Any],
    ledger: Sequence[Mapping[str, Any]],
    synthetic: Mapping[str, Synthetic],
    schema: Schema,
    unpaid: Sequence[str] = (),
    masked: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """Write a candidate release to ``folder``, replacing one that is there, and return its final card.

    Args:
        folder: Where; its parent must exist.
        arrays: Method → name → array, finite.
        card: From :func:`fedgenome.card.build_card`; gets the digests of the files.
        ledger: Records, one a line.
        synthetic: Method → generated rows; empty where none leave.
        schema: Genes and labels of the rows.
        unpaid: Statistics of private data that no query paid for.
        masked: Files of a masked release.

    Raises:
        SpecError: the card prints an ε beside unpaid statistics, a seeded release would say where or
            when it was made, or an array does not fit the schema or is not finite.
    """
    require(
        card["guarantee"]["epsilon"] is None or not unpaid,
        "no unpaid statistic in a release that prints ε",
        unpaid=tuple(unpaid),
    )
    _check_seeded(card, ledger)
    contents = {
        MODEL: _tensors(arrays),
        LEDGER: b"".join(_json_line(record) for record in ledger),
        **({SYNTHETIC: h5ad(synthetic, schema, marks(card))} if synthetic else {}),
        **(masked or {}),
    }
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    final = {**card, "record": {**card["record"], "files": digests}}
    contents[CARD] = (json.dumps(final, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
    _write_folder(folder, contents)
    return final


def add_pages(folder: Path, pages: Mapping[str, str]) -> None:
    """Add text files (``card.html``, ``audit.json``) to a candidate, each whole or not at all."""
    require(folder.is_dir(), f"a candidate at {folder}")
    for name, text in pages.items():
        files.replace(folder / name, text.encode())


def load(folder: Path) -> Release:
    """Read a release folder back, checking that it is whole and unaltered.

    Raises:
        SpecError: a file is missing, altered or malformed; the message names it.
    """
    card = _read_card(folder)
    others = sorted(set(card["record"]["files"]) - {MODEL, LEDGER})
    contents = {name: _read(folder, name) for name in (MODEL, LEDGER, *others)}
    for name, data in contents.items():
        stated = card["record"]["files"].get(name)
        require(hashlib.sha256(data).hexdigest() == stated, f"{folder / name} as card.json describes it")
    arrays: dict[str, dict[str, Array]] = {}
    for key, array in sorted(_parse(folder / MODEL, lambda: load_tensors(contents[MODEL])).items()):
        method, slash, name = key.partition("/")
        require(bool(slash and name), f"{folder / MODEL}: keys method/array", key=key)
        arrays.setdefault(method, {})[name] = array
    records = _parse(folder / LEDGER, lambda: tuple(json.loads(line) for line in contents[LEDGER].splitlines()))
    empty: _Rows = ({}, (), ())  # rows are masked, or models leave alone
    made = SYNTHETIC in contents
    rows, genes, labels = _parse(folder / SYNTHETIC, lambda: _read_h5ad(contents[SYNTHETIC])) if made else empty
    return Release(arrays=arrays, card=card, ledger=records, synthetic=rows, genes=genes, labels=labels)


def publish(candidate: Path, release: Path) -> None:
    """Move a candidate to its public place, in one step.

    Raises:
        SpecError: the candidate is not there, or something is already at ``release``.
    """
    require(candidate.is_dir(), f"a candidate at {candidate}")
    require(not release.exists(), f"nothing yet at {release}: move the earlier release away")
    candidate.rename(release)
    files.sync(release.parent)


def _check_seeded(card: Mapping[str, Any], ledger: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a seeded release that says where, when or by whom it was made (DESIGN §8)."""
    if "engine" in card["record"]:
        return
    told = sorted({name for name in _names([card, *ledger]) if name in _HIDDEN_IF_SEEDED})
    require(not told, "a seeded release without time, host, engine, run or account", fields=told)


def _names(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (str(name) for name in value)
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _names(item)


def _tensors(arrays: Mapping[str, Mapping[str, Array]]) -> bytes:
    flat = {f"{method}/{name}": array for method, named in arrays.items() for name, array in named.items()}
    for key, array in flat.items():
        finite = not np.issubdtype(array.dtype, np.floating) or bool(np.isfinite(array).all())
        require(finite, f"finite numbers in the released array {key}: the training diverged")
    # No metadata: safetensors would write its entries in random order.
    return save_tensors({key: np.require(flat[key], requirements="C") for key in sorted(flat)})


def marks(card: Mapping[str, Any]) -> dict[str, str | bool]:
    """Return what ``uns["fedgenome"]`` says at least, so that nobody takes the rows for people."""
    return {"synthetic": True, "guarantee": guarantee_line(card), "study": card["study"]["digest"]}


def h5ad(synthetic: Mapping[str, Synthetic], schema: Schema, told: Mapping[str, str | bool | int | float]) -> bytes:
    """Encode the rows in AnnData's on-disk format 0.1.0, with bytes that depend on the content alone.

    Args:
        synthetic: Method → its rows, finite.
        schema: Genes and labels of the rows.
        told: What ``uns["fedgenome"]`` says.
    """
    methods = sorted(synthetic)
    for method in methods:
        rows = synthetic[method]
        fits = rows.x.shape == (rows.label.size, len(schema.genes)) and bool(np.isfinite(rows.x).all())
        require(fits, f"finite synthetic rows of {len(schema.genes)} genes from {method}", shape=rows.x.shape)
        require(
            bool(((rows.label >= 0) & (rows.label < len(schema.labels))).all()), f"labels of the schema from {method}"
        )
    sizes = [synthetic[method].label.size for method in methods]
    empty = np.zeros((0, len(schema.genes)), np.float32)
    x = np.concatenate([empty, *(synthetic[method].x for method in methods)])
    label = np.concatenate([np.zeros(0, np.int64), *(synthetic[method].label for method in methods)])
    names = [f"{method}-{row}" for method, size in zip(methods, sizes, strict=True) for row in range(size)]
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _encode(file, "anndata", "0.1.0")
        _dataset(file, "X", x.astype(np.float32), "array", compression="gzip" if x.size else None)
        obs = _frame(file, "obs", names, ("label", "method"))
        _categorical(obs, "label", label, schema.labels)
        _categorical(obs, "method", np.repeat(np.arange(len(methods)), sizes), methods)
        _frame(file, "var", schema.genes, ())
        for name in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            _group(file, name, "dict", "0.1.0")
        if schema.tokens is not None:
            tokens = _group(file["uns"], "tokens", "dict", "0.1.0")
            _dataset(tokens, "letters", schema.tokens.letters, "string")
            _dataset(tokens, "k", schema.tokens.k, "numeric-scalar")
        if schema.dosages:
            genotypes = _group(file["uns"], "genotypes", "dict", "0.1.0")
            _dataset(genotypes, "coding", "dosage", "string")
        uns = _group(file["uns"], "fedgenome", "dict", "0.1.0")
        for name, value in sorted(told.items()):
            _dataset(uns, name, value, "string" if isinstance(value, str) else "numeric-scalar")
    return buffer.getvalue()


def _encode(node: h5py.Group | h5py.Dataset, kind: str, version: str) -> None:
    node.attrs["encoding-type"], node.attrs["encoding-version"] = kind, version


def _group(parent: h5py.Group, name: str, kind: str, version: str) -> h5py.Group:
    group = parent.create_group(name)
    _encode(group, kind, version)
    return group


def _dataset(parent: h5py.Group, name: str, value: object, kind: str, compression: str | None = None) -> None:
    _encode(parent.create_dataset(name, data=value, compression=compression), kind, "0.2.0")


def _strings(parent: h5py.Group, name: str, values: Sequence[str]) -> None:
    _dataset(parent, name, np.array(values, dtype=h5py.string_dtype()), "string-array")


def _frame(parent: h5py.Group, name: str, index: Sequence[str], columns: Sequence[str]) -> h5py.Group:
    frame = _group(parent, name, "dataframe", "0.2.0")
    frame.attrs["_index"] = "_index"
    frame.attrs["column-order"] = np.array(columns, dtype=h5py.string_dtype())
    _strings(frame, "_index", index)
    return frame


def _categorical(frame: h5py.Group, name: str, codes: Array, categories: Sequence[str]) -> None:
    column = _group(frame, name, "categorical", "0.2.0")
    column.attrs["ordered"] = False
    _dataset(column, "codes", codes.astype(np.int8 if len(categories) < 128 else np.int32), "array")
    _strings(column, "categories", categories)


def _read_h5ad(data: bytes) -> _Rows:
    with h5py.File(io.BytesIO(data), "r") as file:
        x, label, made_by = file["X"][:], file["obs/label/codes"][:].astype(np.int64), file["obs/method/codes"][:]
        methods, labels = (tuple(file[f"obs/{name}/categories"].asstr()[:]) for name in ("method", "label"))
        genes = tuple(file["var/_index"].asstr()[:])
    rows = {m: Synthetic(x=x[made_by == k], label=label[made_by == k]) for k, m in enumerate(methods)}
    return rows, genes, labels


def _read_card(folder: Path) -> dict[str, Any]:
    card = _parse(folder / CARD, lambda: json.loads(_read(folder, CARD)))
    known = isinstance(card, dict) and card.get("format") == FORMAT
    require(known, f"{folder / CARD}: format {FORMAT!r}", format=card.get("format") if isinstance(card, dict) else None)
    require(isinstance(card.get("record", {}).get("files"), dict), f"{folder / CARD}: record.files")
    return dict(card)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    require(path.is_file(), f"a file {path}")
    return path.read_bytes()


def _parse(path: Path, parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except (ValueError, KeyError, OSError, SafetensorError) as fault:
        if isinstance(fault, SpecError):
            raise
        raise SpecError(f"expected a well-formed {path}, got {type(fault).__name__}") from None


def _json_line(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(dict(record), sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the files beside ``folder``, then put them in its place."""
    partial, old = (folder.with_name(f".{folder.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        for name, data in contents.items():
            files.write(partial / name, data)
        files.sync(partial)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
        files.sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
