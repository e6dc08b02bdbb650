"""Every verb that reads trajectories answers damage with one line and exit code 2, and changes nothing."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_cases import run_command

from physinv.cli.app import main


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, and a run on it."""
    folder = tmp_path_factory.mktemp("whole")
    main(f"generate double-well --out {folder} --train 40 --valid 20 --test 10 --set steps=4".split())
    main(f"train {folder}/double-well --out {folder}/run --method linear --steps 1".split())
    return folder


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


def unwritten(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        shape = file["t0_fields/position"].shape
        del file["t0_fields/position"]
        file.create_dataset("t0_fields/position", shape, "f4", chunks=(1, *shape[1:]))


def shifted(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["physinv/times"][...] = file["physinv/times"][...] + 5


def elsewhere(path: Path) -> None:
    with h5py.File(path.with_name("secret.h5"), "w") as file:
        file["x"] = np.zeros((40, 5, 1), dtype="f4")
    with h5py.File(path, "r+") as file:
        del file["t0_fields/position"]
        file["t0_fields/position"] = h5py.ExternalLink("secret.h5", "x")


def list_of_settings(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["physinv"].attrs["config_json"] = "[" * 60_000


VERBS = {
    "info": "info {data}/data/train/double-well_000.hdf5",
    "info of all": "info {data}",
    "train": "train {data} --out {out} --steps 2",
    "train learned": "train {data} --out {out} --steps 2 --set physics=learned",
    "reconstruct": "reconstruct {run} --data {data}/data/train --out {out}",
    "reconstruct by a method": "reconstruct --method linear --train {data} --data {data}/data/test --out {out}",
    "generate": "generate double-well --out {folder} --train 40 --valid 20 --test 10 --set steps=4",
    "import": "import {data}/data/train/double-well_000.hdf5 --out {out}",
}
DAMAGE: list[Callable[[Path], None]] = [flipped, unwritten, shifted, elsewhere, list_of_settings]


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def damaged(system: Path, folder: Path, damage: Callable[[Path], None], *, listed: bool = False) -> dict[str, str]:
    """A dataset, as a rule without its list of files, so that `generate` looks at them; and the words of commands."""
    data = folder / "double-well"
    shutil.copytree(system / "double-well", data)
    if not listed:
        (data / "dataset.json").unlink()
    damage(data / "data" / "train" / "double-well_000.hdf5")
    return {"data": str(data), "folder": str(folder), "out": str(folder / "out"), "run": str(system / "run")}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("verb", VERBS)
def test_damage_is_one_line_of_every_verb(
    system: Path, tmp_path: Path, verb: str, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    words = damaged(system, tmp_path, damage, listed=verb == "info of all")
    before = digests(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(VERBS[verb].format(**words).split())
    told = capsys.readouterr().err.splitlines()
    assert (stop.value.code, len(told)) == (2, 1), told
    assert "double-well_000.hdf5" in told[0]
    assert digests(tmp_path) == before


def test_the_shell_hears_so_too(system: Path, tmp_path: Path) -> None:
    words = damaged(system, tmp_path, flipped)
    done = run_command(VERBS["info"].format(**words), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "is damaged: bytes 0 to" in done.stderr


def test_whoever_measures_may_leave_checksums_alone(
    system: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "double-well"
    shutil.copytree(system / "double-well", data)
    path = data / "data" / "test" / "double-well_000.hdf5"
    with h5py.File(path) as file:
        last = np.float32(file["t0_fields/position"][0, -1, 0])
    content = bytearray(path.read_bytes())
    content[bytes(content).index(last.tobytes())] ^= 1  # the last bit of a number
    path.write_bytes(content)
    command = f"reconstruct {system}/run --data {data}/data/test --out {tmp_path}/r.hdf5 --limit 2 --samples 2".split()
    with pytest.raises(SystemExit):
        main(command)
    assert "is damaged" in capsys.readouterr().err
    main([*command, "--no-verify"])
    assert (tmp_path / "r.hdf5").exists()
