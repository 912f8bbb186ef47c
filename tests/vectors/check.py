"""Check every wire vector: ``python -m tests.vectors.check [folder]``, from the repository's root.

An independent reading of docs/protocol.md (``reading/``): it imports the standard library, NumPy and
cryptography, never fedgenome. Each of its functions takes what a vector gives and returns what must follow, or
raises: ``Bad`` where a rule says so, or what parsers and ciphers raise at malformed input (``REFUSALS``).
"""

import sys
from json import loads
from pathlib import Path

from tests.vectors.reading import files, messages, pinned, shares
from tests.vectors.reading.rules import REFUSALS


def patched(value, patch):
    """A JSON merge patch (RFC 7396), where {"~": [from, to, put]} replaces bytes of a hex text."""
    if not isinstance(patch, dict):
        return patch
    if set(patch) == {"~"}:
        start, end, put = patch["~"]
        return value[: 2 * start] + put + value[2 * end :]
    merged = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = patched(merged.get(name), change)
    return merged


def given_of(case, good):
    """What a case gives: spelled out, or a patch of a good one's."""
    if "given" in case:
        return case["given"]
    (of,) = (one["given"] for one in good if one["name"] == case["of"])
    return patched(of, case["patch"])


def outcome(structure, given):
    """What follows from ``given``, or "refused"."""
    try:
        return STRUCTURES[structure](**given)
    except REFUSALS:
        return "refused"


def differences(content):
    """Names of the cases of a file that come out otherwise than it says."""
    cases = [*content["good"], *content["bad"]]
    return [
        case["name"]
        for case in cases
        if outcome(content["structure"], given_of(case, content["good"])) != case["gives"]
    ]


def main(folder):
    """Print a line a file; return 1 if a vector came out otherwise than it says, or there is none."""
    files = sorted(folder.glob("*.json"))
    wrong = not files
    for file in files:
        content = loads(file.read_text())
        found = differences(content)
        wrong = wrong or bool(found)
        counts = f"{len(content['good'])} good, {len(content['bad'])} bad"
        sys.stdout.write(f"{file.name}: {counts}: {'WRONG: ' + ', '.join(found) if found else 'as they say'}\n")
    return int(wrong)


STRUCTURES = {
    one.__name__: one
    for one in (
        *(pinned.digest, pinned.study, pinned.terms, pinned.query, pinned.payload),
        *(shares.statement, shares.party_key, shares.stamp, shares.numbers, shares.context, shares.mask),
        *(shares.sealed_secret, shares.sealed_vector, shares.part, shares.total),
        *(messages.frame, messages.message, messages.opening, messages.winners, messages.call),
        *(files.answers, files.ledger),
        *(messages.hello, messages.link_frame, messages.tuple_request),
    )
}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parent / "v1"))
