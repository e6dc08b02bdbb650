"""One builder for every network: defaults, a user's own by name, and its messages."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import pytest
import torch
from command_cases import run_command
from safetensors.torch import load_file
from torch import nn

from physinv.cli.app import main
from physinv.config.seeds import seeds
from physinv.config.settings import Settings
from physinv.models.networks import MLP, ParticleNet, UNet, build_network
from physinv.processes.layout import FieldLayout, ParticleLayout, VectorLayout
from physinv.runs.run import load_run

ROOT = Path(__file__).resolve().parents[2]
VECTOR, FIELD = VectorLayout("x", 3), FieldLayout("u", ("x", "y"), [range(8)] * 2, "WALL")
GAS = ParticleLayout(5, 2, ("position", "momentum"), box=4.0)

OWN = """
import torch
from torch import nn


class MyNet(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, width: int = 12):
        super().__init__()
        self.first = nn.Linear(inputs + 1, width)
        self.last = nn.Linear(width, outputs)

    def forward(self, x, t):
        return self.last(torch.tanh(self.first(torch.cat([x, t[:, None]], dim=1))))
"""


class Pointwise(nn.Module):
    """A network for every kind of field that names what it needs of the layout."""

    def __init__(self, inputs: int, outputs: int, layout: FieldLayout, settings: Settings) -> None:
        super().__init__()
        self.sides, self.width = layout.shape[1:], settings.width
        self.map = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x, t):  # type: ignore[no-untyped-def]
        return self.map(x)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize(
    ("layout", "kind", "inputs", "outputs"),
    [(VECTOR, MLP, 7, 3), (FIELD, UNet, 3, 2), (GAS, ParticleNet, 2 + 6 * 2 + 1, 2 * 2 + 3)],
)
def test_each_layout_has_its_network(layout, kind, inputs, outputs) -> None:  # type: ignore[no-untyped-def]
    settings = Settings(width=8, depth=1)
    network = build_network(layout, inputs, outputs, settings, seed=3, numbers=3, unit=0.5)
    assert type(network) is kind
    x = torch.randn(4, *layout.with_channels(inputs), generator=torch.Generator().manual_seed(0))
    assert network(x, torch.rand(4, generator=torch.Generator().manual_seed(0))).shape == (
        4,
        *layout.with_channels(outputs),
    )
    same, other = (weights(build_network(layout, inputs, outputs, settings, seed=s, numbers=3)) for s in (3, 4))
    assert torch.equal(weights(network), same)
    assert not torch.equal(same, other)


def test_what_depends_on_the_layout() -> None:
    assert build_network(FIELD, 2, 1, Settings(depth=1), seed=0).stride == 1
    around = FieldLayout("u", "x", [range(8)])
    assert build_network(around, 2, 1, Settings(depth=1), seed=0).stride == 2
    gas = build_network(GAS, 2 + 6 * 2 + 1, 2, Settings(), seed=0, unit=0.5)
    assert (gas.box, gas.absolute, gas.neighbours, gas.vectors, gas.outputs) == (8.0, True, None, 6, 1)
    many = ParticleLayout(65, 2, "position", isotropic=True)
    cloud = build_network(many, 2 + 4 * 2 + 1, 2, Settings(), seed=0)
    assert (cloud.box, cloud.absolute, cloud.neighbours) == (0.0, False, 32)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    build_network(VECTOR, 3, 3, Settings(), seed=7)
    with seeds(7).as_global():
        first = torch.rand(1)
        with seeds(8).as_global():
            torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, torch.rand(1, generator=seeds(7).generator()))


def test_preparing_draws_on_from_the_layers() -> None:
    def spread(network: nn.Module) -> None:
        nn.init.normal_(network.layers[0].weight)

    plain = build_network(VECTOR, 3, 3, Settings(), seed=0)
    one, two = (build_network(VECTOR, 3, 3, Settings(), seed=0, prepare=spread) for _ in range(2))
    assert torch.equal(one.layers[0].weight, two.layers[0].weight)
    assert not torch.equal(one.layers[0].weight, plain.layers[0].weight)
    assert torch.equal(one.layers[2].weight, plain.layers[2].weight)


def test_a_registered_network_gets_what_it_names() -> None:
    network = build_network(FIELD, 4, 2, Settings(network=f"{__name__}:Pointwise", width=5), seed=0)
    assert isinstance(network, Pointwise)
    assert (network.sides, network.width) == ((8, 8), 5)


class NoModule:
    def __init__(self, inputs: int, outputs: int) -> None: ...


class Narrow(nn.Linear):
    """One output too few."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs - 1)

    def forward(self, x, t):  # type: ignore[no-untyped-def]
        return super().forward(x)


class Bare(nn.Module):
    """Forgets ``super().__init__()``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.layer = nn.Linear(inputs, outputs)


class Greedy(nn.Module):
    def __init__(self, inputs: int, outputs: int, heads: int) -> None: ...


def lonely(inputs: int) -> nn.Module:
    return nn.Linear(inputs, 1)


@pytest.mark.parametrize(
    ("settings", "more", "message"),
    [
        ({"network": "mpl"}, {}, "there is no network `mpl`; did you mean `mlp`"),
        ({"network": "nowhere:Net"}, {}, "network `nowhere:Net` can't be imported: No module named 'nowhere'"),
        ({"network": f"{__name__}:NoModule"}, {}, "network .*:NoModule` must make a torch.nn.Module, got NoModule"),
        ({"network": f"{__name__}:Narrow"}, {}, r"must turn features of shape \(2, 4\) into \(2, 3\), got \(2, 2\)"),
        (
            {"network": f"{__name__}:Greedy"},
            {},
            "network .*:Greedy` asks for `heads`; give it a default, or name some of",
        ),
        (
            {"network": f"{__name__}:Bare"},
            {},
            "network .*:Bare` can't be made for 4 inputs and 3 outputs: AttributeError",
        ),
        ({"network": f"{__name__}:lonely"}, {}, r"network .*:lonely` must take the arguments \(inputs, outputs\)"),
        ({"network": f"{__name__}:Narrow", "width": 9}, {}, "network .*:Narrow` takes no `width`, got 9; leave it out"),
        ({"network": f"{__name__}:Narrow"}, {"dropout": 0.1}, "network .*:Narrow` takes no `dropout`, got 0.1"),
        ({"network": "unet"}, {}, r"network `unet` is for fields, got states of shape \(3,\); leave `network` out"),
        ({"network": "particles"}, {}, r"network `particles` is for particles, got states of shape \(3,\)"),
    ],
)
def test_mistakes_are_told_in_one_line(settings, more, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message) as caught:
        build_network(VECTOR, 4, 3, Settings(**settings), seed=0, **more)
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_for_other_states_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"network `mlp` fails on features of shape \(2, 4, 8, 8\): "):
        build_network(FIELD, 4, 2, Settings(network="mlp"), seed=0)


@pytest.mark.parametrize("network", ["unet", "tokens"])
def test_networks_take_the_boundary_of_each_axis_and_any_grid(network: str) -> None:
    layout = FieldLayout("u", ("lat", "lon"), [range(5), range(12)], "WALL,PERIODIC")
    made = build_network(layout, 3, 2, Settings(network=network, depth=3), seed=0)
    assert made.periodic == (False, True)
    assert made(torch.zeros(2, 3, 5, 12), torch.zeros(2)).shape == (2, 2, 5, 12)


def test_a_network_of_the_working_directory_goes_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, stored by its name, loaded again: the same samples to the bit, by the installed command."""
    (tmp_path / "mymodule.py").write_text(OWN)
    quick = "--steps 6 --set batch=32 --set validate_every=3 --set validate_windows=64 --set fresh=off --device cpu"
    own = "--set network=mymodule:MyNet --set width=10"
    data = "--data datasets/double-well/data/test --samples 3 --device cpu"
    makes = (
        "generate double-well --train 40 --valid 10 --test 3",
        f"train datasets/double-well --out run {own} {quick}",
        f"reconstruct run {data} --out a.hdf5",
    )
    # the second process knows only what is stored; the working directory is not on the path of either
    for lines in (makes, (f"reconstruct run {data} --out b.hdf5",)):
        done = run_command(*lines, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    with monkeypatch.context() as here:
        here.syspath_prepend(tmp_path)
        network = load_run(tmp_path / "run").model.network
    del sys.modules["mymodule"]
    stored = load_file(tmp_path / "run" / "model.safetensors")
    assert stored["score.network.first.weight"].shape[0] == 10
    with h5py.File(tmp_path / "a.hdf5") as a, h5py.File(tmp_path / "b.hdf5") as b:
        assert (a["samples"][...] == b["samples"][...]).all()
    assert type(network).__name__ == "MyNet"
    assert torch.equal(network.first.weight, stored["score.network.first.weight"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as stopped:
        main(["info", "../run"])
    assert stopped.value.code == 2
    assert "network `mymodule:MyNet` can't be imported" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("layout", "changes", "told"),
    [
        (VECTOR, {"width": 10**8}, r"of 2e\+16 weights \(`width` = 100000000\) takes 480 PB of memory"),
        (
            FIELD,
            {"width": 10**6, "depth": 1},
            r"weights \(`width` = 1000000, `depth` = 1\) takes .* are free",
        ),
    ],
    ids=["vector", "field"],
)
def test_a_network_that_does_not_fit_is_refused_before_it_is_made(layout, changes, told):
    with pytest.raises(ValueError, match=told):
        build_network(layout, layout.shape[0], layout.shape[0], Settings(**changes), seed=0)


def test_the_look_at_its_size_changes_no_weights():
    first, again = (build_network(VECTOR, 3, 3, Settings(width=width), seed=0) for width in (0, 64))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
