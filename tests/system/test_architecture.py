"""The house rules that a machine can check: direction of imports, packaging, no pickle."""

import ast
import collections
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("physinv/**/*.py"), *ROOT.glob("simulators/**/*.py")])

# The order of the folders: a module imports from its own folder and from those before it.
ORDER = (
    "config equations laws processes data models reversal training posterior "
    "thermodynamics evaluation methods runs comparison reports cli"
)
FOLDERS = ORDER.split()


def imports(path):
    """Modules imported when the file is (not those inside functions or for type checkers only)."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            if node.module == "physinv":
                yield from (f"physinv.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def below(path):
    """The folder of a package that a file lies in; the package itself at the top level."""
    return path.relative_to(ROOT).parent.parts[:2]


@pytest.mark.parametrize("folder", sorted(set(map(below, FILES))), ids="/".join)
def test_imports_go_one_way(folder):
    for path in FILES:
        if below(path) == folder:
            check_imports(path)


def check_imports(path):
    package, *rest = path.relative_to(ROOT).parts
    names = set(imports(path))
    ours = {n.split(".")[1] for n in names if n.startswith("physinv.")} & set(FOLDERS)
    if package == "physinv":
        assert not any(n.split(".")[0] == "simulators" for n in names), f"{path}: physinv knows no particular process"
        if len(rest) > 1:
            assert ours <= set(FOLDERS[: FOLDERS.index(rest[0]) + 1]), path
        else:
            assert rest[0] in ("__init__.py", "__main__.py"), path
    else:
        assert ours <= {"equations", "laws", "processes"}, path
    if rest[:2] != ["reports", "plots"]:
        assert not any(n.split(".")[0] == "matplotlib" for n in names), path


def code(path):
    """Numbered lines of a file, stripped, without blank ones, comments and imports."""
    text = path.read_text("utf-8")
    nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, (ast.Import, ast.ImportFrom))]
    left_out = {i for n in nodes for i in range(n.lineno, n.end_lineno + 1)}
    lines = ((i, line.strip()) for i, line in enumerate(text.splitlines(), 1) if i not in left_out)
    return [(i, line) for i, line in lines if line and not line.startswith("#")]


def repeated(paths, most=10):
    """Places where ``most`` lines stand that stood elsewhere before, each with the earlier place."""
    seen, pairs = {}, []
    for path in paths:
        lines = code(path)
        for k in range(len(lines) - most + 1):
            place = f"{path.name}:{lines[k][0]}"
            first = seen.setdefault(tuple(line for _, line in lines[k : k + most]), place)
            pairs += [(first, place)] if first != place else []
    return pairs


def test_no_ten_lines_stand_twice():
    assert repeated(FILES) == []


def test_lines_that_stand_twice_are_found(tmp_path):
    """Ten lines, whatever their indentation and the blank lines, comments and imports between them; not nine."""
    lines = [f"x{i} = {i}" for i in range(10)]
    (tmp_path / "a.py").write_text("\n".join(lines))
    loop = "import os\nfor _ in range(2):\n    " + "\n\n    # why\n    ".join(lines)
    (tmp_path / "b.py").write_text(loop)
    (tmp_path / "c.py").write_text("\n".join([*lines[:9], "y = 0"]))
    assert repeated(sorted(tmp_path.glob("*.py"))) == [("a.py:1", "b.py:3")]


def test_every_folder_has_its_place():
    assert {p.parent.name for p in ROOT.glob("physinv/*/__init__.py")} == set(FOLDERS)


def test_folders_and_modules_stay_small():
    """At most 14 modules in a folder and 400 lines in a module, so that both are read at a glance."""
    folders = {path.parent for path in FILES}
    modules = {str(f.relative_to(ROOT)): len([p for p in f.glob("*.py") if p.stem != "__init__"]) for f in folders}
    assert {name: n for name, n in modules.items() if n > 14} == {}
    lines = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in FILES}
    assert {name: n for name, n in lines.items() if n > 400} == {}


def test_no_two_classes_share_a_name():
    found = collections.defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(str(path.relative_to(ROOT)))
    assert len(found) > 100
    assert not {name: places for name, places in found.items() if len(places) > 1}


def test_nothing_loads_code_from_data():
    unsafe = re.compile(r"^\s*(import|from)\s+(pickle|dill|joblib|shelve|marshal)\b", re.MULTILINE)
    for path in FILES:
        text = path.read_text("utf-8")
        assert not unsafe.search(text), path
        for call in text.split("torch.load(")[1:]:
            assert "weights_only=True" in call.splitlines()[0], path


def test_wheel_holds_two_packages_only(tmp_path):
    source = tmp_path / "source"  # what builds wheels writes beside the packages
    for name in ("physinv", "simulators"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"physinv", "simulators"}
    assert {"physinv/py.typed", "simulators/py.typed", "physinv/models/networks/unet.py"} <= set(names)
    assert "physinv/comparison/recipes/burgers.toml" in names


def test_folder_datasets_does_not_shadow_an_installed_package(tmp_path):
    """A distribution called `datasets` (Hugging Face has one) still imports from the root of the repository."""
    package = tmp_path / "datasets"
    package.mkdir()
    (package / "__init__.py").write_text("here = 'site-packages'\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import datasets; print(datasets.here)"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "site-packages"


def test_the_library_never_seeds_globally():
    allowed = {
        "physinv/config/seeds.py",
        "physinv/methods/learned/simulation_based.py",
    }  # inside fork_rng, since torch's layers take no generator
    for path in FILES:
        text = path.read_text("utf-8")
        name = str(path.relative_to(ROOT))
        assert "torch.manual_seed(" not in text, name
        assert "default_generator" not in text or name in allowed, name
        assert "np.random.seed" not in text, name
