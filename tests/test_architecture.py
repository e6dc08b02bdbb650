"""The house rules that a machine can check: direction of imports, packaging, no pickle."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("physinv/**/*.py"), *ROOT.glob("simulators/**/*.py")])

# Who stands on whom: a module may import modules of lower rows only (modules of one row are independent).
ROWS = [
    {"sde", "spectra", "metrics", "two_sample", "settings", "devices", "fokker_planck", "observation"},
    {"mixture", "solvers", "operators", "moments", "diagnostics", "residual", "frames"},
    {"bridges", "exact"},
    {"scalar", "score", "networks", "likelihood", "low_rank", "mixture_moments", "smoother_moments"},
    {"simulator", "reversal", "smoothing", "transport", "grids", "langevin", "particle_moments"},
    {"registry", "fit_particles", "losses", "score_matching", "posterior", "header", "recorded"},
    {"schema", "sink", "storage", "conditioning", "foreign"},
    {"writer", "trajectories", "recipe", "objectives", "guidance"},
    {"statistics", "plan", "fit_smoother", "rewind", "carrying", "calibrate", "learned_drift"},
    {"leftovers", "inspection", "checkpoint", "fit_moments"},
    {"generate", "train", "assemble", "linear_estimate"},
    {"fit_drift", "external"},
    {"run", "plot"},
    {"reconstruct", "baselines"},
    {"evaluate", "info", "tensorboard"},
    {"console"},
    {"benchmark"},
    {"demo"},
    {"cli"},
]
RANK = {name: i for i, row in enumerate(ROWS) for name in row}


def module(path):
    """physinv/networks/mlp.py -> networks; simulators/heat.py -> simulators."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "simulators" or len(parts) == 1 else parts[1]


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


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path):
    here = module(path)
    names = set(imports(path))
    if here != "simulators":
        assert not any(n.split(".")[0] == "simulators" for n in names), "physinv knows no particular process"
    if here in ("__init__", "__main__"):
        return
    below = {n.split(".")[1] for n in names if n.startswith("physinv.")} - {here}
    if here == "simulators":
        allowed = {"sde", "moments", "solvers", "simulator", "exact", "mixture", "scalar"}
        assert below <= allowed
    else:
        assert here in RANK, f"give `{here}` a row"
        assert all(RANK[b] < RANK[here] for b in below), {b for b in below if RANK[b] >= RANK[here]}
    if here != "plot":
        assert not any(n.split(".")[0] == "matplotlib" for n in names)


def test_every_module_has_a_row():
    assert {module(p) for p in FILES} - {"simulators", "__init__", "__main__"} == set(RANK)


def test_nothing_loads_code_from_data():
    for path in FILES:
        names = set(imports(path))
        assert not names & {"pickle", "dill", "joblib", "shelve", "marshal"}, path
        assert "torch.load(" not in path.read_text("utf-8"), path


def test_wheel_holds_two_packages_only(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"physinv", "simulators"}
    assert {"physinv/py.typed", "simulators/py.typed", "physinv/networks/unet.py"} <= set(names)


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
        "physinv/assemble.py",
        "physinv/baselines/backbone.py",
        "physinv/baselines/operator.py",
        "physinv/baselines/simulation_based.py",
        "physinv/learned_drift.py",
    }  # inside fork_rng, since torch's layers take no generator
    for path in FILES:
        text = path.read_text("utf-8")
        name = str(path.relative_to(ROOT))
        assert "torch.manual_seed(" not in text, name
        assert "default_generator" not in text or name in allowed, name
        assert "np.random.seed" not in text, name
