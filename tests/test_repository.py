"""Promises of the repository itself: what is in it, what leaves it, and that its pages agree."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fedgenome

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "design",
    "protocol",
    "glossary",
    "pitfalls",
    "decisions",
    "decisions-deployment",
    "threat-model",
    "secrecy",
    "utility",
    "auditing",
    "attacks",
)
PICKLES = {"cloudpickle", "cPickle", "dill", "joblib", "marshal", "pickle", "shelve"}
MACHINE_PATH = re.compile(r"""(?<![\w.~}])/(?:work|root|farm|home|tmp)/[\w.]""")
REGISTRY_HOST = re.compile(r"\b(?:pypi|pythonhosted|conda|anaconda|npmjs|crates|docker|ghcr)\.(?:org|com|io)\b")


def tracked(*patterns):
    """Return the files of the repository, committed or about to be, as relative paths."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in set(names.split("\0")) if name and (ROOT / name).is_file())


def text_of(name):
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """Return a copy of the repository's files, away from caches and environments."""
    to = tmp_path_factory.mktemp("copy") / "fedgenome"
    for name in tracked():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes((ROOT / name).read_bytes())
    return to


def run_python(code, folder):
    command = [sys.executable, "-W", "ignore", "-c", code]
    env = os.environ | {"FLWR_HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- What leaves: the Flower bundle and the wheel


def test_flower_bundle_holds_only_the_thin_apps(copy):
    run_python("import sys; sys.argv = ['flwr', 'build']; from flwr.cli.app import app; app()", copy)
    (bundle,) = copy.glob("*.fab")
    with zipfile.ZipFile(bundle) as files:
        assert set(files.namelist()) == {".info/CONTENT", "LICENSE", "pyproject.toml", "server/app.py", "sites/app.py"}


@pytest.mark.parametrize("role", ["sites", "server"])
def test_app_is_two_lines_over_federation(role):
    body = ast.parse(text_of(f"{role}/app.py")).body
    assert [type(node) for node in body] == [ast.Expr, ast.ImportFrom, ast.Assign]
    assert body[1].module.startswith("fedgenome.federation.")


def test_wheel_holds_fedgenome_and_its_data_and_nothing_else(copy, tmp_path):
    run_python(f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})", copy)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        packed = {
            name for name in files.namelist() if not name.startswith(f"fedgenome-{fedgenome.__version__}.dist-info/")
        }
    assert packed == set(tracked("fedgenome"))


def test_installed_command_and_version_are_the_project_s(copy):
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    assert project["version"] == fedgenome.__version__
    assert project["scripts"] == {"fedgenome": "fedgenome.cli.main:main"}


def test_every_dependency_is_pinned_within_its_range():
    from packaging.requirements import Requirement

    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    lines = [line for line in text_of("constraints.txt").splitlines() if line and not line.startswith("#")]
    pins = {
        re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in (line.partition("==") for line in lines)
    }
    wanted = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["test"]]
    assert {need.name: need.specifier.contains(pins[need.name]) for need in wanted} == {
        need.name: True for need in wanted
    }
    assert not any("+" in version for version in pins.values()), "a local version label ties users to one build"
    assert "==" not in "".join(map(str, wanted)), "flwr build refuses =="


# ---- What must not be in it


@pytest.mark.parametrize("what", [MACHINE_PATH, REGISTRY_HOST], ids=["machine path", "registry host"])
def test_no_file_names_a(what):
    found = [f"{name}: {hit[0]}" for name in tracked() for hit in [what.search(text_of(name))] if hit]
    assert found == []


def test_patterns_find_what_they_forbid():
    assert MACHINE_PATH.search("x = '" + "/".join(["", "root", "data.h5ad'"]))
    assert REGISTRY_HOST.search("https://files." + "pythonhosted" + ".org/simple")
    assert not MACHINE_PATH.search("experiments/work/a and ~/home/b")


def test_no_path_reads_as_a_flag():
    assert not [name for name in tracked() if any(part.startswith("-") for part in Path(name).parts)]


def test_no_lock_of_another_installer():
    assert not [name for name in tracked() if Path(name).name in {"uv.lock", "poetry.lock", "Pipfile.lock"}]


def test_library_neither_pickles_nor_unpickles():
    for name in tracked("fedgenome/*.py", "sites/*.py", "server/*.py"):
        for node in ast.walk(ast.parse(text_of(name))):
            assert not imported(node) & PICKLES, name
            assert not (isinstance(node, ast.keyword) and node.arg == "allow_pickle"), name
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "torch.save"}), name


def imported(node):
    """Return the top-level packages that a syntax node imports."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]}
    return set()


# ---- Pages that agree


def test_ci_runs_the_test_command_of_the_readme():
    (command,) = set(re.findall(r"^make test\b[ \t]*$", text_of(".ci/run"), flags=re.MULTILINE))
    blocks = re.findall(r"^```\w*\n(.*?)^```", text_of("README.md"), flags=re.MULTILINE | re.DOTALL)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert command in lines
    assert text_of(".ci/run").rstrip().endswith(command), "its closing lines must be the tests'"


def test_make_alone_lists_every_target():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", text_of("Makefile"), flags=re.MULTILINE)[1].split()
    assert re.findall(r"^make ([a-z-]+) +\S", listed, flags=re.MULTILINE) == phony


def test_contributing_fits_a_screen():
    assert len(text_of("CONTRIBUTING.md").splitlines()) <= 40


@pytest.mark.parametrize("page", PAGES)
def test_page_exists_and_readme_leads_to_it(page):
    assert text_of(f"docs/{page}.md").startswith("# ")
    assert f"(docs/{page}.md)" in text_of("README.md")


@pytest.mark.parametrize("name", tracked("*.md"))
def test_every_relative_link_resolves(name):
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text_of(name), flags=re.DOTALL))
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        assert not anchor or anchor in headings(page.read_text(encoding="utf-8")), target


def headings(markdown):
    """Return the anchors that a page's headings make."""
    titles = re.findall(r"^#+ (.*)$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def test_every_page_that_code_names_exists():
    named = {
        (name, page)
        for name in tracked("*.py", "Makefile", "*.toml")
        for page in re.findall(r"docs/[\w-]+\.md", text_of(name))
    }
    assert [f"{name}: {page}" for name, page in sorted(named) if not (ROOT / page).is_file()] == []


# ---- What one module alone may load, by an import statement or by name


@pytest.mark.parametrize(
    ("package", "allowed"),
    [("crypten", "fedgenome/secure/crypten_runtime.py"), ("dp_accounting", "fedgenome/privacy/losses.py")],
)
def test_package_is_loaded_by_its_one_module(package, allowed):
    assert {name for name in tracked("fedgenome/*.py") if package in loads(name)} == {allowed}


def test_flower_is_loaded_by_federation_alone():
    users = {name for name in tracked("fedgenome/*.py") if "flwr" in loads(name)}
    assert users
    assert all(name.startswith("fedgenome/federation/") for name in users)


def loads(name):
    """Return the top-level packages that a file imports anywhere, by statement or ``import_module``."""
    found = set()
    for node in ast.walk(ast.parse(text_of(name))):
        found |= imported(node)
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
            and node.args
        ):
            found.add(ast.unparse(node.args[0]).strip("'\"").partition(".")[0])
    return found
