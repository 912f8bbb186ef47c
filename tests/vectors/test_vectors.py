"""Wire vectors: fedgenome and an independent reading of docs/protocol.md agree on every one, good and bad."""

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedgenome.secure import dealer, frames, links
from tests.vectors import check, generate, library

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FILES = {file.stem: json.loads(file.read_text()) for file in sorted((HERE / "v1").glob("*.json"))}
ERRORS = re.compile(r"WireError|SpecError|RoleError|Refused [a-z-]+")
READING = [HERE / "check.py", *sorted((HERE / "reading").glob("*.py"))]
each_structure = pytest.mark.parametrize("structure", sorted(library.STRUCTURES))
# Digests of a role's own files: no other role computes them.
LOCAL_DIGESTS = {"experiment", "form"}

ALONE = """
import runpy, sys
sys.modules["fedgenome"] = sys.modules["flwr"] = sys.modules["torch"] = None
sys.path.insert(0, sys.argv.pop(1))
try:
    runpy.run_module("tests.vectors.check", run_name="__main__", alter_sys=True)
finally:
    found = {name.partition(".")[0] for name, module in sys.modules.items() if module is not None}
    print(sorted(name for name in found - set(sys.stdlib_module_names) if not name.startswith("_")))
"""


def alone(*arguments):
    """Run the checker in a process that cannot import fedgenome."""
    command = [sys.executable, "-I", "-c", ALONE, str(ROOT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def text(value):
    """Tell 1, 1.0 and true apart."""
    return json.dumps(value, sort_keys=True)


def both(structure, given):
    """What fedgenome and the independent reading make of a case."""
    return library.outcome(structure, given), check.outcome(structure, given)


# ---- Every vector


@each_structure
def test_fedgenome_derives_what_good_vectors_say(structure):
    cases = FILES[structure]["good"]
    assert [(c["name"], text(library.outcome(structure, c["given"]))) for c in cases] == [
        (c["name"], text(c["gives"])) for c in cases
    ]


@each_structure
def test_fedgenome_refuses_bad_vectors_by_their_error(structure):
    cases, good = FILES[structure]["bad"], FILES[structure]["good"]
    found = [(c["name"], library.outcome(structure, check.given_of(c, good))) for c in cases]
    assert found == [(c["name"], c["error"]) for c in cases]
    assert all(ERRORS.fullmatch(c["error"]) for c in cases)


@each_structure
def test_independent_reading_agrees_with_every_vector(structure):
    content = FILES[structure]
    given = [check.given_of(case, content["good"]) for case in content["good"] + content["bad"]]
    gives = [text(case["gives"]) for case in content["good"] + content["bad"]]
    assert [text(check.outcome(structure, one)) for one in given] == gives


@each_structure
def test_vectors_are_named_and_bad_ones_say_why(structure):
    content = FILES[structure]
    names = [case["name"] for case in content["good"] + content["bad"]]
    assert content["structure"] == structure and content["means"].endswith(".")
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[^.].*\.", case["wrong"]) for case in content["bad"])


def test_every_structure_has_good_vectors_and_all_but_contexts_bad_ones():
    assert set(FILES) == set(library.STRUCTURES) == set(check.STRUCTURES) == set(generate.CASES)
    assert all(content["good"] for content in FILES.values())
    assert [structure for structure, content in FILES.items() if not content["bad"]] == ["context"]


def test_words_that_sites_shared_are_what_the_parties_open():
    for case in FILES["total"]["good"]:
        shared = [check.shares.signed(_words(told["words"])) for told in case["given"]["sites"].values()]
        assert [sum(column) for column in zip(*shared, strict=True)] == case["gives"]["integers"]


def _words(hexed):
    return library.words_of(hexed, 32)


# ---- The checker


def test_checker_needs_nothing_of_fedgenome():
    done = alone()
    *lines, packages = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert [line.partition(".json")[0] for line in lines] == sorted(FILES)
    assert set(ast.literal_eval(packages)) <= {"cryptography", "numpy", "tests"}


def test_nothing_that_the_checker_loads_names_another_package():
    allowed = {"cryptography", "numpy", "tests"} | sys.stdlib_module_names
    named = {name for file in READING for name in imported(file)}
    assert {name.partition(".")[0] for name in named} <= allowed
    assert {name for name in named if name.startswith("tests")} <= {"tests.vectors.reading", *reading()}


def imported(file):
    """Names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def reading():
    return [f"tests.vectors.reading.{file.stem}" for file in READING[1:]]


def test_checker_fails_on_a_good_vector_that_says_otherwise(tmp_path):
    content = json.loads(text(FILES["context"]))
    content["good"][1]["gives"] = "refused"
    (tmp_path / "context.json").write_text(text(content))
    done = alone(tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        1,
        f"context.json: 3 good, 0 bad: WRONG: {name_of(content)}",
    )


def name_of(content):
    return content["good"][1]["name"]


def test_checker_fails_on_a_bad_vector_that_is_good_and_on_no_vectors(tmp_path):
    assert alone(tmp_path).returncode == 1
    content = json.loads(text(FILES["stamp"]))
    content["bad"][0]["patch"] = {}
    (tmp_path / "stamp.json").write_text(text(content))
    done = alone(tmp_path)
    assert done.returncode == 1 and "WRONG: truncated\n" in done.stdout


# ---- The generator


def test_committed_vectors_are_what_the_generator_gives():
    made = generate.generate(HERE / "v1")
    stale = [name for name, content in made.items() if generate.text_of(content) != _committed(name)]
    assert stale == [], "python -m tests.vectors.generate"


def _committed(structure):
    return (HERE / "v1" / f"{structure}.json").read_text()


def test_vectors_made_anew_have_other_ciphertexts_and_are_as_good(tmp_path):
    generate.main(["--all", str(tmp_path)])
    assert check.main(tmp_path) == 0
    assert (tmp_path / "context.json").read_text() == _committed("context")
    assert (tmp_path / "part.json").read_text() != _committed("part")


def test_vectors_stay_small():
    # Every rule of selections and of ledgers has a bad case, and ledgers are text: a third of it all.
    assert sum(file.stat().st_size for file in (HERE / "v1").iterdir()) < 404_000


@pytest.mark.parametrize(
    ("old", "new"), [("00" * 60, "00" * 59), ("00" * 60, "00" * 30 + "01" * 30), ({"a": 1}, {"a": True})]
)
def test_a_patch_gives_back_what_it_was_made_of(old, new):
    assert text(check.patched(old, generate.difference(old, new))) == text(new)


# ---- Mutations

# Structure and field of which a copy with any bit altered must be refused.
WHOLE = [
    ("sealed_secret", "sealed"),
    ("stamp", "stamp"),
    ("stamp", "part"),
    ("statement", "signature"),
    ("part", "part"),
]


@pytest.mark.parametrize(("structure", "field"), WHOLE)
def test_good_vector_with_a_bit_altered_anywhere_is_refused_by_both(structure, field):
    given = FILES[structure]["good"][0]["given"]
    for altered in flips(given, field):
        answers = both(structure, altered)
        assert answers[1] == "refused" and isinstance(answers[0], str), altered[field]


# Altered text or numbers may make another valid message, but never the same one. Structure, field and which good one.
PARTLY = [
    ("frame", "frame", 3),
    ("answers", "file", 3),
    ("hello", "hello", 0),
    ("link_frame", "frame", 2),
    ("tuple_request", "request", 0),
]


@pytest.mark.parametrize(("structure", "field", "which"), PARTLY)
def test_good_vector_with_a_bit_altered_anywhere_means_something_else_to_both(structure, field, which):
    case = FILES[structure]["good"][which]
    for altered in flips(case["given"], field):
        ours, theirs = both(structure, altered)
        assert text(theirs) == text("refused" if isinstance(ours, str) else ours) != text(case["gives"])


def test_ledger_with_a_letter_altered_anywhere_says_something_else_to_both():
    case = FILES["ledger"]["good"][0]
    for place in range(0, len(case["given"]["file"]), 3):
        altered = list(case["given"]["file"])
        altered[place] = chr(ord(altered[place]) ^ 1 << place % 7)
        ours, theirs = both("ledger", {"file": "".join(altered)})
        assert text(theirs) == text("refused" if isinstance(ours, str) else ours) != text(case["gives"])


def flips(given, field):
    """``given`` with one bit of a hex field inverted: every bit of the first 16 bytes, then one of every other byte."""
    raw = bytes.fromhex(given[field])
    for place in [*range(len(raw))[:16], *range(16, len(raw), 2)]:
        for bit in range(8) if place < 16 else (place // 2 % 8,):
            altered = raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]
            yield given | {field: altered.hex()}


# ---- What is in the code has a vector


@functools.cache
def nodes(kind):
    """Everything of a kind in fedgenome's code."""
    trees = [ast.parse(file.read_text()) for file in (ROOT / "fedgenome").rglob("*.py")]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, kind)]


@functools.cache
def named():
    """Texts that fedgenome's code gives a name in capitals."""
    pairs = [(node.targets[0], node.value) for node in nodes(ast.Assign)]
    return {
        target.id: value.value
        for target, value in pairs
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and target.id.isupper()
    }


def called(name, position=0):
    """Texts that fedgenome's code hands, spelled out or by name, to a function of this name at this place."""
    found = [
        c.args[position]
        for c in nodes(ast.Call)
        if name in (getattr(c.func, "attr", 0), getattr(c.func, "id", 0)) and len(c.args) > position
    ]
    texts = (getattr(arg, "value", named().get(getattr(arg, "id", 0))) for arg in found)
    return {text for text in texts if isinstance(text, str)}


def values(structure, where, field):
    return {case[where][field] for case in FILES[structure]["good"]}


def test_every_kind_of_message_has_a_good_vector():
    assert values("frame", "gives", "kind") == set(frames.Kind.__members__)
    assert values("link_frame", "given", "kind") == set(links.Kind.__members__)
    assert values("tuple_request", "gives", "function") == set(dealer.Function.__members__)


def test_every_kind_of_digest_and_statement_has_a_good_vector():
    assert {"study", "plan", "query", "set"} < called("digest_of")
    assert values("digest", "given", "kind") == called("digest_of") - LOCAL_DIGESTS
    assert {"bundle", "ledger line"} < values("statement", "given", "kind") == called("sign")
    assert called("verify", 1) | called("signature", 1) == called("sign")


def test_every_magic_of_the_code_stands_in_a_vector():
    code = "".join(file.read_text() for file in (ROOT / "fedgenome").rglob("*.py"))
    magics = set(re.findall(r'b"(FG[A-Z]{2})"', code))
    assert len(magics) >= 6
    assert [magic for magic in magics if magic.encode().hex() not in text(FILES)] == []
