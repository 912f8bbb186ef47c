"""What `fedgenome evaluate` and `fedgenome audit` found, as pages: internal, as they are computed from real people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedgenome.report import sections
from fedgenome.report.attacks import attacks
from fedgenome.report.html import asset, facts, page, section, tag


def evaluation_page(found: Mapping[str, Any], genes: Sequence[str], scripts: Sequence[str]) -> str:
    """Return one self-contained page.

    Args:
        found: ``Utility.to_json()`` with ``files`` (role → name) and ``labels``.
        genes: Names of gene indices.
        scripts: Plotly's own script.
    """
    told = {f"{role} ({found['rows'][role]:,} rows)": name for role, name in found["files"].items()}
    told |= {"genes": f"{len(genes):,}", "labels": ", ".join(found["labels"]), "seed": str(found["seed"])}
    return page(
        "Evaluation of a synthetic table",
        tag("p", tag("strong", f"{found['statement'][0].upper()}{found['statement'][1:]}."), class_="banner plain"),
        section("files", "Files", facts(told.items())),
        sections.utility({"synthetic": found}, found["labels"], genes),
        contents={"files": "Files", "utility": "Utility"},
        scripts=(*scripts, asset("report.js")),
    )


def audit_page(found: Mapping[str, Any], scripts: Sequence[str]) -> str:
    """Return one self-contained page.

    Args:
        found: ``Audited.to_json()`` with ``statement``, ``seed`` and ``verdict`` (``Verdict.to_json()``).
        scripts: Plotly's own script.
    """
    low, high = found["range"]
    told = {**found["files"], "genes": f"{found['genes']:,}", "labels": ", ".join(found["labels"])}
    told |= {"values": f"{low:g} to {high:g}", "seed": str(found["seed"]), "notes": "; ".join(found["notes"])}
    return page(
        "Audit of a synthetic table",
        tag("p", tag("strong", f"{found['statement'][0].upper()}{found['statement'][1:]}."), class_="banner plain"),
        sections.verdict(found["verdict"], found["audit"], ("Nothing is refuted under the policy.", "Withheld.")),
        section("files", "Files", facts(told.items())),
        attacks(found["audit"]),
        contents={"verdict": "Verdict", "files": "Files", "attacks": "Attacks"},
        scripts=(*scripts, asset("report.js")),
    )
