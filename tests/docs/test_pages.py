"""The sources of the documentation hold together, without building them: links, files, code, order."""

import ast
import doctest
import re
import tomllib
from pathlib import Path

import api_pages
import docstrings
import pytest

from physinv.config.settings import Settings
from physinv.methods import method_names
from physinv.models.networks.build import NETWORKS
from physinv.models.references.registry import REFERENCES
from physinv.processes.registry import simulators
from physinv.reversal.choose import STEPS
from physinv.training.objectives.registry import OBJECTIVES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)


def name_of(path):
    return str(path.relative_to(DOCS))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_figures_exist(page):
    text = re.sub(r"```python.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    links += re.findall(r"^```\{(?:figure|image|literalinclude|include)\} (\S+)", text, re.MULTILINE)
    for link in links:
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_are_python(page):
    for block in re.findall(r"```(?:python|\{code-cell\} ipython3)\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        ast.parse(re.sub(r"^(%|:tags:).*$", "", block, flags=re.MULTILINE))


def test_every_page_is_reached():
    reached = set()
    for page in PAGES:
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            entries = [line for line in tree.splitlines() if line and not line.startswith(":")]
            reached |= {(page.parent / entry).relative_to(DOCS).with_suffix("") for entry in entries}
    written = {path.relative_to(DOCS).with_suffix("") for path in PAGES}
    assert written - reached == {Path("index")}
    assert reached - written == {Path("api") / Path(name).stem for name in api_pages.pages(ROOT)}


def test_the_reference_has_every_folder_in_the_order_of_imports():
    folders = [path.parent.name for path in ROOT.glob("physinv/*/__init__.py")]
    assert set(api_pages.FOLDERS) == set(folders)
    text = (DOCS / "api" / "index.md").read_text("utf-8")
    assert list(api_pages.FOLDERS) == [line for line in text.splitlines() if line in api_pages.FOLDERS]


def test_tables_of_processes_have_every_process():
    ours = {name for name, cls in simulators().items() if cls.__module__.startswith("simulators.")}
    for page, pattern in {
        "README.md": r"^\| \[`([\w-]+)`\]",
        "docs/guide/processes.md": r"^\| \{py:class\}`([\w-]+) <",
    }.items():
        named = set(re.findall(pattern, (ROOT / page).read_text("utf-8"), re.MULTILINE))
        assert named == ours, page


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("guide/objectives.md", OBJECTIVES.names()),
        ("guide/command_line.md", [*Settings.model_fields, *NETWORKS.names(), *REFERENCES.names()]),
        ("concepts/reference_law.md", REFERENCES.names()),
        ("concepts/steps.md", STEPS.names()),
        ("methods.md", method_names()),
    ],
)
def test_tables_have_every_name_that_can_be_given(page, names):
    rows = [line for line in (DOCS / page).read_text("utf-8").splitlines() if line.startswith("|")]
    named = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert set(names) <= named


def test_versions_of_what_builds_the_pages_are_pinned():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()}
    wanted = {re.split(r"[>=<\[ ]", entry)[0] for entry in extras["docs"]}
    assert wanted <= pinned


def test_docstrings_are_marked_for_the_reference():
    assert doctest.testmod(docstrings).failed == 0
    google = ["Return |x|.", "", "Args:", "    x: A number, ``|x|`` > 0.", "", "Example:", "    >>> 1 | 2", "    3"]
    marked = docstrings.to_rst(google)
    assert marked[0] == r"Return \|x\|."
    assert marked[1:] == google[1:]  # sections are napoleon's
    table = ["====  =====", "``a``  first", "====  ====="]
    assert docstrings.to_rst(table) == table
    author = ["As in::", "", "    a | b", "", "and so on."]
    assert docstrings.to_rst(author) == [*author[:3], "", *author[4:]]
