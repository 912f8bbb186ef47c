"""Write the README's tables from the committed results (``--check``: only compare).

Run: ``python -m experiments.tables``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- results -->\n", "<!-- /results -->\n"


def main() -> None:
    """Replace what stands between the marks, or fail if it is out of date."""
    text = README.read_text(encoding="utf-8")
    new = filled(text)
    if "--check" in sys.argv:
        sys.exit(0 if new == text else "README.md: tables are out of date; run python -m experiments.tables")
    README.write_text(new, encoding="utf-8")


def filled(page: str) -> str:
    """Return ``page`` with today's tables between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


def tables() -> str:
    """Return every results file as a Markdown table with where and when it was measured, then all targets."""
    found = sorted(HERE.glob("**/*results.json"))
    records = {path: json.loads(path.read_text(encoding="utf-8")) for path in found}
    return "".join(_section(path, record) for path, record in records.items())


def _section(path: Path, record: Mapping[str, Any]) -> str:
    title = record["title"].split("\n")[0]
    where = f"`{record['command']}`, {record['machine']}, {record['date']}"
    lines = [f"**{title}** ([{path.name}]({path.relative_to(HERE.parent).as_posix()}); {where})\n"]
    lines += _rows(record["rows"])
    lines += [_target(target) for target in record["targets"]]
    return "\n".join(lines) + "\n\n"


def _rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(rows[0])
    head = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return [*head, *("| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows), ""]


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float) and abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _target(target: Mapping[str, Any]) -> str:
    verdict = "met" if target["ok"] else "**missed**"
    return f"- {target['name']}: {target['value']:.3g}, promised {target['sense']} {target['target']:g}: {verdict}"


if __name__ == "__main__":
    main()
