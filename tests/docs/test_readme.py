"""The README is short and true: its quickstart runs, and its numbers are those of the result files."""

import re
import shutil
from pathlib import Path

import pytest
from command_cases import run_code
from matplotlib.image import imread

ROOT = Path(__file__).resolve().parents[2]
PAGES = (  # with tables written by a script
    "README.md",
    "docs/results/index.md",
    "docs/results/details.md",
    "docs/results/published.md",
)


def quickstart():
    return re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)[1]


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
    assert len([line for line in quickstart().splitlines() if line.strip()]) <= 15


def test_quickstart_runs_and_reaches_the_exact_posterior(tmp_path):
    done = run_code("import torch; torch.set_num_threads(1)\n" + quickstart(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, exact = map(float, re.search(r"CRPS ([\d.]+), exact posterior ([\d.]+)", done.stdout).groups())
    # two ensembles of 16 for 500 observations: their CRPS differ by about 1 % by chance
    assert ours <= 1.05 * exact


def test_numbers_are_those_of_the_result_files(tmp_path):
    for name in (*PAGES, "benchmarks/readme_table.py", "benchmarks/result_tables.py", "benchmarks/common.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "benchmarks" / "results", tmp_path / "benchmarks" / "results")
    done = run_code(tmp_path / "benchmarks" / "readme_table.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in PAGES:
        assert (tmp_path / name).read_text("utf-8") == (ROOT / name).read_text("utf-8"), name


def test_the_gallery_shows_the_stored_reconstructions(tmp_path):
    folder = ROOT / "benchmarks" / "results" / "systems"
    shutil.copytree(folder / "examples", tmp_path / "examples")
    script = ROOT / "benchmarks" / "gallery.py"
    done = run_code(script, "--folder", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("planes.png", "lines.png"):
        ours, stored = (imread(path / name) for path in (tmp_path, folder))
        assert ours.shape == stored.shape, name
        # fonts may be smoothed differently from one build of freetype to the next, fields not
        assert abs(ours - stored).mean() < 0.002, name


def test_every_record_is_listed_with_the_command_that_makes_it():
    results = ROOT / "benchmarks" / "results"
    rows = re.findall(
        r"^\| `(\S+)` \| `(.*?)` \|", (ROOT / "benchmarks" / "README.md").read_text("utf-8"), re.MULTILINE
    )
    records = [*results.glob("*.json"), *results.glob("*/cells.jsonl")]
    assert {name for name, _ in rows} == {str(path.relative_to(results)) for path in records}
    for _, command in rows:
        program, script, *_ = command.split()
        assert program == "physinv" or (ROOT / "benchmarks" / script).exists()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "datasets/README.md", "benchmarks/README.md"])
def test_every_file_that_a_page_names_exists(name):
    path = ROOT / name
    for link in re.findall(r"\]\(([^)h#][^)#]*)", path.read_text("utf-8")):
        assert (path.parent / link).exists(), link
