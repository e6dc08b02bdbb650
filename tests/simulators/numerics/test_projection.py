"""The projection onto fields without divergence, around obstacles."""

import math

import pytest
import torch
from obstacle_cases import flow, norm, seeded

from simulators.fields.buoyancy import Buoyancy
from simulators.numerics.projection import divergence, project


def blocked(n, batch, seed=0):
    """Random face velocities among random obstacle cells (a tenth), and what is open."""
    x = torch.randn(batch, 4, n, n, dtype=torch.float64, generator=seeded(seed))
    x[:, 3] = (torch.rand(batch, n, n, generator=seeded(seed + 1)) < 0.1).double()
    free = Buoyancy(size=n).free(x)
    return x, free[:, 1], free[:, 2]


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-10])
def test_projection_removes_the_divergence_and_is_orthogonal(tolerance):
    x, open_x, open_y = blocked(24, 8)
    vx, vy = x[:, 1], x[:, 2]
    px, py = project(vx, vy, open_x, open_y, tolerance)
    left = divergence(open_x * px, open_y * py)
    size = norm(open_x * vx, open_y * vy)
    # div = C^T L^{1/2} (C^T L^{-1/2} residual) with L < 8, and |b| is at most the size of the velocity
    assert (norm(left) <= math.sqrt(8) * tolerance * size).all()
    # u - Pu = grad p is orthogonal to Pu at any tolerance: conjugate gradients leave a residual orthogonal to p
    inner = (open_x * px * (vx - px) + open_y * py * (vy - py)).sum((1, 2))
    assert (inner.abs() <= 1e-12 * size**2).all()  # rounding; measured 6e-17
    assert ((norm(vx - px, vy - py) / size) > 0.3).all()  # and there was something to remove
    closed = (1 - open_x) > 0
    assert torch.equal(px[closed], vx[closed])  # closed faces stay as they were


def test_projection_removes_gradients_and_keeps_what_has_no_divergence():
    """Without obstacles: grad of cos(k pi x) cos(l pi y) goes, the curl of a stream function stays."""
    n = 20
    i = torch.arange(n, dtype=torch.float64)
    wave = torch.cos(3 * math.pi * (i[:, None] + 0.5) / n) * torch.cos(2 * math.pi * (i + 0.5) / n)
    pressure = (
        torch.nn.functional.pad(wave.diff(dim=0), (0, 0, 0, 1)),
        torch.nn.functional.pad(wave.diff(dim=1), (0, 1)),
    )
    corner = torch.sin(math.pi * torch.arange(n + 1, dtype=torch.float64) / n)
    psi = corner[:, None] * corner**2
    curl = psi[1:].diff(dim=1), -psi[:, 1:].diff(dim=0)
    open_x, open_y = torch.ones(2, 1, n, n, dtype=torch.float64).unbind(0)
    open_x[:, -1], open_y[:, :, -1] = 0, 0
    got = project(*(0.7 * g[None] + c[None] for g, c in zip(pressure, curl, strict=True)), open_x, open_y, 1e-12)
    for a, b in zip(got, curl, strict=True):
        assert torch.allclose(a[0] * open_x[0] if a is got[0] else a[0] * open_y[0], b, atol=1e-11)


def test_iterations_do_not_grow_with_the_grid(monkeypatch):
    """The same box and disc on 16^2 and 128^2 cells: conjugate gradients need as many steps, not 8 times as many."""
    counts = []
    for n in (16, 128):
        centre = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        x = torch.randn(1, 4, n, n, dtype=torch.float64, generator=seeded(3))
        box = ((centre[:, None] - 0.4).abs() < 0.2) & ((centre - 0.6).abs() < 0.07)
        x[:, 3] = (box | ((centre[:, None] - 0.7) ** 2 + (centre - 0.8) ** 2 < 0.01)).double()
        free = Buoyancy(size=n).free(x)
        for most in range(1, 40):
            monkeypatch.setattr("simulators.numerics.projection._MOST", most)
            try:
                project(x[:, 1], x[:, 2], free[:, 1], free[:, 2], 1e-5)
            except ValueError:
                continue
            counts.append(most)
            break
    assert len(counts) == 2
    assert counts[1] <= counts[0] + 3  # measured: 11 and 9


def test_projection_says_when_it_fails():
    x, open_x, open_y = blocked(12, 1)
    with pytest.raises(ValueError, match=r"the pressure solve left .* of the divergence after 200 iterations"):
        project(x[:, 1], x[:, 2], open_x, open_y, 1e-200)


@flow
@pytest.mark.filterwarnings("ignore")
def test_projection_is_phiflows():
    """PhiFlow's `make_incompressible` around two boxes that fill whole cells.

    It first weakens the flow along the boxes (by its soft mask): that is where we start from, too.
    """
    import phi.field
    import phi.physics.fluid
    import phi.torch
    from phi import math as phimath

    n = 8
    x = torch.randn(1, 4, n, n, dtype=torch.float64, generator=seeded(5))
    x[:, 3] = 0
    x[:, 3, 2:4, 5:7] = 1
    x[:, 3, 5:7, 1:4] = 1
    free = Buoyancy(size=n).free(x)
    boxes = [phi.geom.Box(x=(2, 4), y=(5, 7)), phi.geom.Box(x=(5, 7), y=(1, 4))]
    with phimath.precision(64), phi.torch.TORCH:
        faces = [phimath.wrap(v, phimath.spatial("x,y")) for v in (x[0, 1, :-1], x[0, 2, :, :-1])]
        faces = phimath.stack(faces, phimath.dual(vector="x,y"))
        flow = phi.field.StaggeredGrid(faces, 0, x=n, y=n, bounds=phi.geom.Box(x=n, y=n))
        start = phi.physics.fluid.apply_boundary_conditions(flow, boxes)
        end, _ = phi.physics.fluid.make_incompressible(flow, boxes, phimath.Solve("CG", 1e-12, 1e-12))
        before, after = ([v.vector[a].values.native("x,y") for a in "xy"] for v in (start, end))
    vx, vy = torch.zeros(2, 1, n, n, dtype=torch.float64).unbind(0)
    vx[0, :-1], vy[0, :, :-1] = before
    px, py = project(vx, vy, free[:, 1], free[:, 2], 1e-13)
    # two solves to 1e-12 of flows of order 1; measured: 1.1e-12
    assert torch.allclose(px[0, :-1], after[0], atol=1e-10)
    assert torch.allclose(py[0, :, :-1], after[1], atol=1e-10)
