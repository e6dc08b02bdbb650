"""Processes are found by name: registered ones, and ``module:Class`` from the working directory through all verbs."""

from __future__ import annotations

import json
from importlib import metadata
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import h5py
import pytest
from command_cases import run_command

from physinv.cli.app import main
from physinv.processes import registry
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck

pytestmark = pytest.mark.usefixtures("few_judges")

ROOT = Path(__file__).resolve().parents[2]

OWN = """
from dataclasses import dataclass

import torch

from physinv.processes.layout import VectorLayout
from physinv.processes.parameters import parameter
from physinv.processes.simulator import Simulator


@dataclass(frozen=True)
class DampedPendulum(Simulator):
    title = "Damped pendulum"
    equation = "dq = p dt,  dp = -(sin q + damping p) dt + noise dW"
    layout = VectorLayout("angle_and_velocity", 2)

    steps: int = parameter(8, "M", "stored time steps", minimum=1)
    damping: float = parameter(0.3, "gamma", "friction", unit="1/time", minimum=0)

    def drift(self, x, t):
        q, p = x.unbind(1)
        return torch.stack([p, -torch.sin(q) - self.damping * p], dim=1)

    def diffusion(self, t):
        return torch.tensor([0.0, 0.3]).to(t).expand(len(t), 2)

    def initial(self, batch, *, generator=None, device=None, dtype=torch.float32):
        return torch.randn((batch, 2), generator=generator, device=device, dtype=dtype)
"""


@pytest.mark.parametrize(
    ("written", "read", "options", "told"),
    [
        ("@dataclass(frozen=True)\n", "", "", "put @dataclass(frozen=True) above it, so that `steps` is a parameter"),
        ("@dataclass(frozen=True)\n", "", "--set damping=1", "`DampedPendulum` must be a dataclass; put @dataclass"),
        ("(frozen=True)", "", "", "its module ends with TypeError: cannot inherit non-frozen dataclass"),
        ("def initial", "def start", "", "`DampedPendulum` must define initial"),
        ("def drift(self, x, t)", "def drift(self, x)", "", "`drift` of DampedPendulum must be a function (x, t) -> f"),
        ("dtype=dtype)", "dtype=dtype).numpy()", "", "`initial` of DampedPendulum must return a tensor (batch, 2)"),
        ("generator=generator, ", "", "", "must draw the same states from the same generator"),
    ],
    ids=["no dataclass", "no field", "not frozen", "abstract", "no time", "numpy", "no generator"],
)
def test_mistakes_in_a_class_are_one_line(written, read, options, told, tmp_path, monkeypatch, capsys):
    name = tmp_path.name  # a module is imported once
    (tmp_path / f"{name}.py").write_text(OWN.replace(written, read))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(f"generate {name}:DampedPendulum --train 4 --out out {options}".split())
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.startswith("physinv: ")
    assert error.count("\n") == 1


def test_a_process_of_the_working_directory_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mymodule.py").write_text(OWN)
    quick = "--steps 4 --set batch=32 --set validate_windows=64 --set fresh=off --device cpu"
    makes = (
        "generate mymodule:DampedPendulum --train 40 --valid 10 --test 3 --set damping=0.5",
        f"train datasets/damped-pendulum --out run {quick}",
    )
    reads = (
        "reconstruct run --data datasets/damped-pendulum/data/test --out r.hdf5 --samples 4",
        "evaluate r.hdf5",
        "info datasets/damped-pendulum",
    )
    for lines in (makes, reads):  # those that read know no more than what is stored
        done = run_command(*lines, cwd=tmp_path)  # the working directory is not on its path
        assert done.returncode == 0, done.stderr
    folder = tmp_path / "datasets" / "damped-pendulum"
    assert [p.name for p in sorted((folder / "data" / "train").iterdir())] == ["damped-pendulum_000.hdf5"]
    config = json.loads((folder / "dataset.json").read_text())["config"]
    assert config["simulator"] == "mymodule:DampedPendulum"  # what is loaded again
    assert config["parameters"]["damping"] == 0.5
    with h5py.File(folder / "data" / "test" / "damped-pendulum_000.hdf5") as file:
        assert file.attrs["dataset_name"] == "damped-pendulum"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["simulator"] == "mymodule:DampedPendulum"
    # elsewhere the class is missing, and one line says so
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "../r.hdf5"])
    assert stopped.value.code == 2
    lost = capsys.readouterr().err
    assert "simulator `mymodule:DampedPendulum` can't be imported: No module named 'mymodule'" in lost
    assert lost.count("\n") == 1


def test_what_is_no_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notaprocess.py").write_text("class Thing: pass\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"simulator `notaprocess:Thing` must be a subclass of .*Simulator, got"):
        registry.find("notaprocess:Thing")
    with pytest.raises(ValueError, match=r"simulator `notaprocess:Other` can't be imported"):
        registry.find("notaprocess:Other")
    with pytest.raises(ValueError, match=r"must have the form module:name"):
        registry.find("notaprocess:")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("navier-stokes", "navier-stokes"),
        ("m:Pendulum", "pendulum"),
        ("pack.mod:DampedPendulum", "damped-pendulum"),
        ("m:KPZ", "kpz"),
        ("m:KPZEquation2D", "kpz-equation2-d"),
        ("m:Outer.Inner_One", "outer-inner-one"),
    ],
)
def test_names_of_files(name: str, expected: str) -> None:
    assert registry.file_name(name) == expected


def test_registered_processes_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def entries(*pairs: tuple[str, str]) -> None:
        found = EntryPoints(EntryPoint(name, value, registry.SIMULATORS.group) for name, value in pairs)
        monkeypatch.setattr(metadata, "entry_points", lambda group: found.select(group=group))

    entries(("ornstein-uhlenbeck", "simulators.vectors.ornstein_uhlenbeck:OrnsteinUhlenbeck"))
    assert registry.simulators() == {"ornstein-uhlenbeck": OrnsteinUhlenbeck}
    assert registry.find("ornstein-uhlenbeck") is OrnsteinUhlenbeck
    with pytest.raises(ValueError, match=r"^there is no simulator `ornstein`; did you mean `ornstein-uhlenbeck`\?$"):
        registry.find("ornstein")
    with pytest.raises(ValueError, match=r"^there is no simulator `zzz`; there is only ornstein-uhlenbeck\.$"):
        registry.find("zzz")
    entries(("gone", "no.such.module:X"), ("other", "simulators.vectors.ornstein_uhlenbeck:math"))
    with pytest.raises(ValueError, match=r"simulator `no\.such\.module:X` can't be imported: No module named"):
        registry.find("gone")
    with pytest.raises(ValueError, match=r"simulator `other` must be a subclass of physinv\.processes\.simulator\.Sim"):
        registry.find("other")
    entries()
    with pytest.raises(ValueError, match=r"none is registered; run `pip install -e \.` in the clone"):
        registry.find("heat")
