"""Files of trajectories in other people's layouts, as small as tests need them."""

import math

import h5py
import numpy as np


def damped(n, times, seed):
    """A periodic field, heat and noise in three waves alone, the other modes are empty: (n, time, 16) float32."""
    rng = np.random.default_rng(seed)
    x = 2 * math.pi * np.arange(16) / 16
    k = np.arange(1, 4)
    waves = np.concatenate([np.sin(k[:, None] * x), np.cos(k[:, None] * x)])
    rate, dt = np.tile(k**2, 2) * 0.5, np.diff(times)
    a = rng.normal(size=(n, 6)) / np.tile(k, 2)
    out = [a]
    for h in dt:
        gain = np.exp(-rate * h)
        a = gain * a + 0.1 * np.sqrt(-np.expm1(-2 * rate * h) / (2 * rate)) * rng.normal(size=a.shape)
        out.append(a)
    return (np.stack(out, 1) @ waves).astype("f4")


def write_well(path, n=4, seed=0, nu=0.5, times=None, spoil=lambda file: None):
    """A 2-D file with a scalar, a vector, a static field shared by all, and one without y: as The Well's writers do."""
    rng = np.random.default_rng(seed)
    times = np.linspace(2.0, 3.0, 6, dtype="f4") if times is None else times
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="mine", grid_type="cartesian", n_spatial_dims=2, n_trajectories=n)
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        dims["time"], dims["x"], dims["y"] = times, np.linspace(0, 1, 8, dtype="f4"), np.arange(4, dtype="f4") ** 2
        bc = file.create_group("boundary_conditions")
        for axis in "xy":
            bc.create_group(f"{axis}_wall").attrs["bc_type"] = "WALL"
        file.create_group("scalars")["nu"] = nu
        t0, t1, t2 = (file.create_group(f"t{i}_fields") for i in range(3))
        steps = len(times)
        shapes = {
            "density": (t0, (n, steps, 8, 4), True, True, [True, True]),
            "mask": (t0, (8, 4), False, False, [True, True]),
            "forcing": (t0, (n, steps, 8), True, True, [True, False]),
            "velocity": (t1, (n, steps, 8, 4, 2), True, True, [True, True]),
            "stress": (t2, (n, steps, 8, 4, 2, 2), True, True, [True, True]),
        }
        for name, (group, shape, sample, time, along) in shapes.items():
            data = group.create_dataset(name, data=rng.normal(size=shape).astype("f4"))
            data.attrs.update(sample_varying=sample, time_varying=time, dim_varying=along)
        for group in (t0, t1, t2):
            group.attrs["field_names"] = list(group)
        spoil(file)
    return path


def write_burgers(path, n=60, seed=0, spoil=lambda file: None):
    """PDEBench's 1-D layout, with its one time too many."""
    times = np.linspace(0, 1, 10)
    with h5py.File(path, "w") as file:
        file["tensor"] = damped(n, times[:-1], seed)
        file["x-coordinate"], file["t-coordinate"] = 2 * np.pi * np.arange(16) / 16, times
        spoil(file)
    return path


def write_groups(path, n=5, spoil=lambda file: None):
    """PDEBench's 2-D layout: a group for each trajectory."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        for i in range(n):
            group = file.create_group(f"{i:04d}")
            group["data"] = rng.normal(size=(4, 8, 8, 2)).astype("f4")
            group["grid/x"], group["grid/y"], group["grid/t"] = np.arange(8.0), np.arange(8.0), np.arange(4.0)
        spoil(file)
    return path


STORED = {"w": np.random.default_rng(3).normal(size=(16, 6, 16)), "t": np.arange(6) * 0.1, "x": np.arange(16) / 16}
