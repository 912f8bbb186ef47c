"""Write docs/results.md and the README's targets from the committed results (``--check``: only compare).

Run: ``python -m experiments.tables``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOME = HERE.parent
README, PAGE = HOME / "README.md", HOME / "docs" / "results.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"
_HEAD = """# Results
Every committed measurement in full, by `python -m experiments.tables` from the `results.json` files beside the commands
that wrote them. Timings are of one machine on one day: compare ratios within a table.

"""


def main() -> None:
    """Write both pages, or fail if one is out of date."""
    new = {README: filled(README.read_text(encoding="utf-8")), PAGE: page()}
    for path, text in new.items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name}: out of date; run python -m experiments.tables")


def filled(readme: str) -> str:
    """Return the README with how many promises each measurement met, and those missed, between its marks."""
    before, rest = readme.split(BEGIN)
    sections = [_summary(r) for _, r in _records() if r["targets"]]
    return before + BEGIN + "\n".join(sections) + "\n" + END + rest.split(END)[1]


def _summary(record: Mapping[str, Any]) -> str:
    met = sum(target["ok"] for target in record["targets"])
    head = f"- **{_title(record)}** `{record['command']}`: {met} of {len(record['targets'])} met"
    return "\n".join([head, *(f"  {_target(target)}" for target in record["targets"] if not target["ok"])])


def page() -> str:
    """Return docs/results.md: every table with where and when it was measured, then its targets."""
    return _HEAD + "\n\n".join(_section(path, record) for path, record in _records()) + "\n"


def _records() -> list[tuple[Path, dict[str, Any]]]:
    return [(path, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(HERE.glob("**/*results.json"))]


def _title(record: Mapping[str, Any]) -> str:
    return str(record["title"].split("\n")[0])


def _section(path: Path, record: Mapping[str, Any]) -> str:
    where = f"`{record['command']}`, {record['machine']}, {record['date']}"
    link = f"[{path.name}](../{path.relative_to(HOME).as_posix()})"
    return "\n".join([f"## {_title(record)}\n{link}: {where}\n", *_tables(record["rows"]), *_targets(record)])


def _tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a table with its name for each "section" that rows say they are of, or one of all."""
    lines = []
    for name in dict.fromkeys(row.get("section") for row in rows):
        own = [{key: row[key] for key in row if key != "section"} for row in rows if row.get("section") == name]
        lines += [*([f"**{name}**\n"] if name else []), *_rows(own)]
    return lines


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return [*head, *("| " + " | ".join(_cell(row.get(name, "")) for name in names) + " |" for row in rows), ""]


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):  # an estimate and its interval
        estimate, low, high = map(_cell, value)
        return f"{estimate} [{low}, {high}]"
    if isinstance(value, float) and abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _targets(record: Mapping[str, Any]) -> list[str]:
    return [_target(target) for target in record["targets"]]


def _target(target: Mapping[str, Any]) -> str:
    verdict = "met" if target["ok"] else "**missed**"
    return f"- {target['name']}: {target['value']:.3g}, promised {target['sense']} {target['target']:g}: {verdict}"


if __name__ == "__main__":
    main()
