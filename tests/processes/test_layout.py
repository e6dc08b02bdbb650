"""What layouts say about states, and that files can say it again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from physinv.models.networks import NETWORKS
from physinv.processes.layout import FieldLayout, ParticleLayout, StateLayout, VectorLayout, layout_from
from physinv.reports.plots.pictures import picture_of

GRID = tuple(i / 8 for i in range(8))
LAYOUTS: dict[str, StateLayout] = {
    "number": VectorLayout("x", 1),
    "vector": VectorLayout("x", 3),
    "line": FieldLayout("u", "x", [GRID]),
    "plane": FieldLayout(("u", "wall", "v"), ("x", "y"), [GRID, range(3)], "WALL", "wall"),
    "space": FieldLayout(("u",), ("x", "y", "z"), [range(4)] * 3, "OPEN"),
    "gas": ParticleLayout(5, 2, ("position", "momentum"), box=4.0),
    "trap": ParticleLayout(4, 3, "position", isotropic=True),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def batch(layout: StateLayout, n: int = 6) -> torch.Tensor:
    return torch.randn(n, *layout.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@every_layout
def test_a_layout_is_made_again_of_what_it_says(layout: StateLayout) -> None:
    again = layout_from(**json.loads(json.dumps(layout.described()), object_hook=tuples))
    assert again == layout
    assert hash(again) == hash(layout)
    assert len({*map(str, LAYOUTS.values())}) == len(LAYOUTS)


def tuples(found: dict[str, object]) -> dict[str, object]:
    def deep(value: object) -> object:
        return tuple(map(deep, value)) if isinstance(value, list) else value

    return {key: deep(value) for key, value in found.items()}


@every_layout
def test_parts_cover_a_state_once(layout: StateLayout) -> None:
    count = torch.zeros(1, *layout.shape)
    for name, place in layout.parts():
        count[(..., *place)] += 1
        assert name in layout.names
        assert count[0][place].ndim == (len(layout.axes_of(name)))
    assert torch.equal(count, torch.ones_like(count))
    assert [name for name, _ in layout.parts()] == list(layout.names)
    assert len(layout.dims) == len(layout.shape)


@every_layout
def test_what_moves_is_taken_out_and_put_back(layout: StateLayout) -> None:
    x, other = batch(layout), batch(layout).flip(0)
    moving = layout.moving(x)
    back = layout.set_moving(moving, other)
    for name, place in layout.parts():
        source = other if name in layout.static else x
        assert torch.equal(back[(..., *place)], source[(..., *place)])
    static = sum(count_of(x[0][place]) for name, place in layout.parts() if name in layout.static)
    assert moving[0].numel() == x[0].numel() - static
    assert torch.equal(layout.moving(x[:, None].expand(-1, 2, *layout.shape))[:, 1], moving)  # any batch axes


def count_of(x: torch.Tensor) -> int:
    return x.numel()


@every_layout
def test_every_layout_names_what_exists(layout: StateLayout) -> None:
    assert layout.network in NETWORKS.names()
    assert callable(NETWORKS.find(layout.network))
    assert picture_of(layout).together >= 1
    assert layout.references
    assert layout.periodic == (layout.boundary == "PERIODIC")


def test_means_are_those_of_the_channels() -> None:
    x = batch(LAYOUTS["vector"])
    assert torch.allclose(LAYOUTS["vector"].channel_mean(x), x.mean(0))
    field, y = LAYOUTS["plane"], batch(LAYOUTS["plane"])
    assert torch.allclose(field.channel_mean(y), torch.tensor(y.numpy().mean((0, 2, 3)))[:, None, None])
    assert torch.allclose(field.pooled(y), field.channel_mean(y))
    assert field.channel_mean(y).shape == (3, 1, 1)
    gas, z = LAYOUTS["gas"], batch(LAYOUTS["gas"])
    assert torch.allclose(gas.channel_mean(z), torch.tensor(z.numpy().mean((0, 1)))[None])
    assert torch.allclose(gas.centre(z), gas.channel_mean(z))
    q, p, species = z[..., :2].mean(), z[..., 2:4].mean(), z[..., 4].mean()
    assert torch.allclose(gas.pooled(z), torch.stack([q, q, p, p, species])[None])  # one scale for each vector
    trap = LAYOUTS["trap"]
    assert torch.equal(trap.centre(batch(trap)), torch.zeros(1, 4, dtype=torch.float64))  # no direction is preferred


def test_defaults_depend_on_the_size_of_a_state() -> None:
    small, large = LAYOUTS["vector"], FieldLayout("u", ("x", "y"), [range(512)] * 2)
    assert (small.default_batch, small.default_rate, small.default_validation_windows) == (2048, 1e-3, 32768)
    line = FieldLayout("u", "x", [range(256)])
    assert (line.default_batch, line.default_rate, line.default_validation_windows) == (64, 4e-3, 1024)
    assert (large.default_batch, large.default_validation_windows) == (8, 8)
    gas = LAYOUTS["gas"]
    assert (gas.default_batch, gas.copies_per_step, small.copies_per_step) == (128, 5, 4)


def test_space_and_basis() -> None:
    plane, gas = LAYOUTS["plane"], LAYOUTS["gas"]
    assert (plane.space, plane.basis, plane.picture) == (("x", "y"), "identity", "image")
    assert (LAYOUTS["line"].space, LAYOUTS["line"].basis, LAYOUTS["line"].picture) == (("x",), "fourier", "profile")
    assert (gas.space, gas.basis, gas.periodic, gas.positions) == ((), "identity", True, 2)
    assert gas.with_channels(7) == (5, 7)
    assert plane.with_channels(7) == (7, 8, 3)
    assert plane.dims == ("channel", "x", "y")


def test_words_for_the_ends_of_axes_may_be_small_letters():
    grid = [range(4), range(6)]
    assert FieldLayout("u", ("x", "y"), grid, "wall, Periodic") == FieldLayout("u", ("x", "y"), grid, "WALL,PERIODIC")
    assert FieldLayout("u", ("x", "y"), grid, "open,open").boundary == "OPEN"


def test_each_axis_has_its_own_ends() -> None:
    globe = FieldLayout("u", ("lat", "lon"), [range(4), range(6)], "WALL,PERIODIC")
    assert (globe.boundaries, globe.wraps) == (("WALL", "PERIODIC"), (False, True))
    assert (globe.periodic, globe.basis) == (False, "identity")
    torus = FieldLayout("u", ("lat", "lon"), [range(4), range(6)], "PERIODIC,PERIODIC")
    assert (torus.boundary, torus.wraps, torus.periodic, torus.basis) == ("PERIODIC", (True, True), True, "fourier")
    assert torus == FieldLayout("u", ("lat", "lon"), [range(4), range(6)])
    assert layout_from(**globe.described()) == globe


def test_a_mask_hides_points_from_everything_that_counts(generator) -> None:  # type: ignore[no-untyped-def]
    holds = np.array([[True, True, False], [True, False, True]])
    sea = FieldLayout(("u", "depth"), ("x", "y"), [range(2), range(3)], "WALL", "depth", mask=holds)
    assert np.array_equal(sea.valid, holds)
    x = torch.randn(5, 4, 2, 2, 3, generator=generator)  # (observation, draw, *state)
    scored = sea.scored(x)
    assert torch.equal(scored, x[:, :, 0][..., torch.from_numpy(holds)])  # the moving channel at four points
    empty = sea.emptied(x)
    assert torch.equal(empty[..., ~torch.from_numpy(holds)], torch.zeros(5, 4, 2, 2))
    assert torch.equal(sea.scored(empty), scored)
    # means over points with data alone, whatever is at the others
    mean = x[:, 0].movedim(1, 0)[..., torch.from_numpy(holds)].mean((1, 2))
    assert torch.allclose(sea.channel_mean(x[:, 0]).flatten(), mean, atol=1e-6)
    assert layout_from(**sea.described()) == sea
    assert sea.masked(None) == FieldLayout(("u", "depth"), ("x", "y"), [range(2), range(3)], "WALL", "depth")
    assert sea.masked(None).masked(holds) == sea
    # without a mask nothing is left out but static channels
    plane = LAYOUTS["plane"]
    assert torch.equal(plane.scored(y := torch.randn(2, *plane.shape, generator=generator)), plane.moving(y))
    assert FieldLayout("u", "x", [GRID], mask=[True] * len(GRID)).valid is None
    assert torch.equal(LAYOUTS["vector"].emptied(torch.ones(2, 3)), torch.ones(2, 3))


def test_what_a_user_has_at_hand_will_do() -> None:
    made = FieldLayout(["u"], ["x"], [torch.linspace(0, 1, 3)], "WALL")
    assert made == FieldLayout("u", "x", [np.linspace(0, 1, 3)], boundary="WALL")
    assert made.coordinates == ((0.0, 0.5, 1.0),)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VectorLayout("x", 0), "`size` of a vector must be at least 1, got 0"),
        (lambda: ParticleLayout(0, 2, "q"), "`count` of particles must be at least 1, got 0"),
        (lambda: FieldLayout(("u", "u"), "x", [GRID]), "`names` of a field must be one or more different names"),
        (lambda: FieldLayout("u", ("x", "y"), [GRID]), "`coordinates` must hold one list for each of .* got 1"),
        (lambda: FieldLayout("u", "x", [GRID], "MIRROR"), "`boundary` must be one of PERIODIC, WALL, OPEN, got 'MIRR"),
        (lambda: FieldLayout("u", "x", [GRID], "WALL,WALL,OPEN"), "`boundary` must be one of PERIODIC, WALL, OPEN, g"),
        (
            lambda: FieldLayout("u", ("x", "y"), [GRID, GRID], "WALL,NO"),
            "`boundary` must be one of PERIODIC, WALL, OPEN, or 2 of them joined by commas, got 'WALL,NO'",
        ),
        (lambda: FieldLayout("u", "x", [GRID], mask=[True, False]), "`mask` must say of .* got 1 of 2"),
        (lambda: FieldLayout("u", "x", [GRID], mask=[False] * len(GRID)), "`mask` must say of .* at least one, got 0"),
        (lambda: VectorLayout("x", 2).masked(np.array([True, False])), "`mask` is for fields, got one for .* 'vector'"),
        (lambda: FieldLayout("u", "x", [GRID], static="w"), "no channel `w`"),
        (lambda: layout_from("vectors", ["x"], ["c"], [[0.0]]), "no layout of kind 'vectors'; did you mean `vector`"),
        (lambda: layout_from("vector", ["x", "y"], ["c"], [[0.0]]), "can't have the names"),
        (
            lambda: layout_from("vector", ["x"], ["coordinate"], [[3.0]]),
            r"`coordinates` .* must be \(\(0\.0,\),\)",
        ),
        (lambda: layout_from("particles", ["q"], ["a", "b"], [[0.0], [0.0]]), "can't have the names"),
    ],
)
def test_mistakes_are_told_in_one_line(make, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()


def test_fields_of_few_points_masks_and_others_have_no_bands() -> None:
    fine = FieldLayout("u", ("x", "y"), [range(8), range(9)])
    holes = [i > 0 for i in range(72)]
    assert fine.has_bands
    others = [
        FieldLayout("u", ("x", "y"), [range(7), range(9)]),
        FieldLayout("u", ("x", "y"), [range(8), range(9)], mask=holes),
        VectorLayout("x", 9),
        ParticleLayout(9, 9, "position"),
    ]
    assert not any(layout.has_bands for layout in others)
