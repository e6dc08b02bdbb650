"""A disk that is full ends every verb with exit code 2 and one line: no traceback, no crash, nothing half written."""

import shutil

import numpy as np
import pytest
from command_cases import run_command

from physinv.cli.app import main

pytest.importorskip("resource")

LIMIT = 30_000  # bytes of a file


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset, a run and a reconstruction."""
    folder = tmp_path_factory.mktemp("made")
    calls = [
        f"generate heat --out {folder} --train 60 --valid 20 --test 10 --set size=8 --set steps=4",
        f"train {folder}/heat --out {folder}/run --steps 2 --set width=4 --set depth=1",
        f"reconstruct {folder}/run --data {folder}/heat/data/test --out {folder}/r.hdf5 --samples 5 --certify 0",
    ]
    for call in calls:
        main(call.split())
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(60, 20, 20)).cumsum(1))
    return folder


VERBS = {
    "generate": "generate heat --out o --train 60 --valid 20 --test 10 --set size=8 --set steps=4",
    "import": "import {made}/x.npy --dims sample,time,component --times 0:1 --out o",
    "train": "train {made}/heat --out o --steps 2 --set width=16 --set depth=1",
    "reconstruct": "reconstruct {made}/run --data {made}/heat/data/test --out o --samples 40 --certify 0",
    "evaluate": "evaluate {made}/r.hdf5 --plots o",
}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "train"])
def test_a_full_disk(verb, made, tmp_path):
    fill(verb, made, tmp_path)


def fill(verb, made, tmp_path):
    """Run a verb on a full disk: the system answers "file too large", as it answers "no space left"."""
    words = VERBS[verb].format(made=made)
    done = run_command(words, cwd=tmp_path, env={"MPLCONFIGDIR": str(made)}, limit=LIMIT)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "File too large; raise the limit of the size of files" in last
    assert "physinv: " in last
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert not [p for p in left if "physinv-tmp" in p.name]
    assert all(p.stat().st_size < LIMIT for p in left)


def test_a_run_goes_on_where_the_disk_was_full(made, tmp_path, monkeypatch):
    """Whatever a full disk leaves of a run, --resume ends as if nothing had happened."""
    words = f"train {made}/heat --out {tmp_path}/o --steps 2 --set width=16 --set depth=1"
    fill("train", made, tmp_path)
    main([*words.split(), *(["--resume"] if (tmp_path / "o").exists() else [])])
    shutil.move(tmp_path / "o", tmp_path / "first")
    main(words.split())
    name = "model.safetensors"
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "o" / name).read_bytes()
