"""A periodic axis holds each of its points once, in files that store the first one again, too."""

import numpy as np
import pytest
import xarray as xr

from physinv.data.sources.states import states_of


def field(n: int, closed: bool) -> xr.Dataset:
    x = np.arange(n + closed) / n
    wave = np.cos(2 * np.pi * x) + 0.3 * np.cos(4 * np.pi * x)  # flat at its ends
    return xr.Dataset({"u": (("time", "x"), wave.astype("f4") * np.arange(1, 4)[:, None])}, {"time": range(3), "x": x})


@pytest.mark.parametrize("n", [8, 4096])
def test_the_first_point_again_at_the_end_is_left_out(n):
    states = states_of(field(n, closed=True), boundary="periodic")
    assert states.sizes["x"] == n
    assert any("last point" in note for note in states.attrs["notes"])
    for kept in (states_of(field(n, closed=True)), states_of(field(n, closed=True), boundary="wall")):
        assert kept.sizes["x"] == n + 1
    assert states_of(field(n, closed=False), boundary="periodic").sizes["x"] == n


def test_longitudes_from_0_to_360_go_around():
    lon = np.linspace(0, 360, 13)
    u = np.sin(np.radians(lon)) * np.arange(1, 4)[:, None]
    u[:, 4:6] = np.nan  # land
    data = xr.Dataset({"u": (("time", "lon"), u)}, {"time": range(3), "lon": ("lon", lon, {"units": "degrees_east"})})
    states = states_of(data)
    assert (states.attrs["boundary"], states.lon.values[-1]) == ({"lon": "PERIODIC"}, 330)
    data.u[:, -1] = 0.5  # not the same point
    states = states_of(data)
    assert (states.attrs["boundary"], states.lon.values[-1]) == ({"lon": "OPEN"}, 360)
