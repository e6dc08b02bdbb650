"""The verb `physinv impute`: files with NaN, hidden entries beside the exact smoother, and what is refused."""

import json

import numpy as np
import pytest
import torch

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset
from physinv.posterior.reconstruction import read_reconstruction


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Heat on eight points, and a run of it that is trained by one update."""
    folder = tmp_path_factory.mktemp("windows")
    sizes = "--train 300 --valid 20 --test 40 --set size=8 --set dimension=1 --set steps=4"
    cli.main(f"generate heat --out {folder} {sizes}".split())
    cli.main(f"train {folder / 'heat'} --method imputation --out {folder / 'run'} --steps 1".split())
    return folder


def test_hidden_entries_beside_the_exact_smoother(folder, physinv, tmp_path):
    out, table = tmp_path / "a.hdf5", tmp_path / "a.json"
    data = ("--data", folder / "heat/data/test", "--hide", "every:2", "--observed-noise", 0.05)
    code, _, err = physinv("impute", folder / "run", *data, "--out", out, "--samples", 32)
    assert code == 0, err
    recon = read_reconstruction(out)
    assert recon.frames.shape == (40, 32, 5, 1, 8)
    assert int(recon.seen.isnan().sum()) == 40 * 2 * 8
    noise = recon.seen.flatten(1) - TrajectoryDataset(folder / "heat/data/test").trajectories().flatten(1)
    assert float(noise[noise.isfinite()].std()) == pytest.approx(0.05, rel=0.1)  # 960 numbers: four standard errors
    code, said, err = physinv("evaluate", out, "--json", table)
    assert code == 0, err
    assert "missing entries (40%): CRPS" in said
    found = json.loads(table.read_text())["missing"]
    # 640 entries, each with the same draws' noise: the ratio of two sample means, a tenth at most
    assert abs(found["crps"] / found["exact_crps"] - 1) < 0.1
    assert found["crps"] < found["interpolation"]


def test_draws_do_not_depend_on_the_limit(folder, physinv, tmp_path):
    data, found = ("--data", folder / "heat/data/test", "--hide", "entries:0.5", "--samples", 2), []
    for limit in (20, 5, 1):
        code, _, err = physinv("impute", folder / "run", *data, "--out", tmp_path / f"{limit}.hdf5", "--limit", limit)
        assert code == 0, err
        found.append(read_reconstruction(tmp_path / f"{limit}.hdf5"))
    for other, n in zip(found[1:], (5, 1), strict=True):
        assert torch.equal(found[0].seen[:n].nan_to_num(9.0), other.seen.nan_to_num(9.0))
        assert torch.equal(found[0].frames[:n], other.frames)


def test_a_file_with_gaps(folder, physinv, tmp_path):
    x = TrajectoryDataset(folder / "heat/data/test").trajectories(slice(0, 3)).numpy()
    gaps = x.copy()
    gaps[0, 2], gaps[1, 3:], gaps[2, :, 0, 4] = np.nan, np.nan, np.nan
    np.save(tmp_path / "gaps.npy", gaps)
    out = tmp_path / "b.hdf5"
    code, _, err = physinv("impute", folder / "run", "--data", tmp_path / "gaps.npy", "--out", out)
    assert code == 0, err
    recon, known = read_reconstruction(out), torch.from_numpy(np.isfinite(gaps))
    assert recon.truth is None
    whole = torch.from_numpy(x)[:, None].expand_as(recon.frames)
    assert torch.equal(recon.frames.movedim(1, 0)[:, known], whole.movedim(1, 0)[:, known])
    assert bool((recon.frames.std(1)[~known] > 0).all())
    assert physinv("evaluate", out)[0] == 0

    # Other files have no axis for the one channel of a field.
    for name, bare, n in (("several.npy", gaps[:, :, 0], 3), ("one.npy", gaps[0, :, 0], 1)):
        np.save(tmp_path / name, bare)
        code, _, err = physinv("impute", folder / "run", "--data", tmp_path / name, "--out", tmp_path / f"{n}.hdf5")
        assert code == 0, err
        assert torch.equal(read_reconstruction(tmp_path / f"{n}.hdf5").seen.nan_to_num(9), recon.seen[:n].nan_to_num(9))


def test_what_cannot_be_used_is_told_in_one_line(folder, physinv, tmp_path):
    data = ("--data", folder / "heat/data/test")
    np.save(tmp_path / "other.npy", np.zeros((2, 3, 1, 8)))
    gaps = np.where(np.arange(5)[:, None, None] == 2, np.nan, np.ones((5, 1, 8)))
    np.save(tmp_path / "complex.npy", gaps * (1 + 1j))
    np.save(tmp_path / "large.npy", 1e300 * gaps)
    np.save(tmp_path / "infinite.npy", np.where(np.arange(5)[:, None, None] == 3, np.inf, gaps))
    for more, told in (
        (("--data", tmp_path / "complex.npy"), "must be real"),
        (("--data", tmp_path / "large.npy"), "must be below 3e38"),
        (("--data", tmp_path / "infinite.npy"), "has 8 infinite ones; missing ones are NaN"),
        (data, "nothing is missing"),
        ((*data, "--hide", "every:1"), "`--hide` must be every:N"),
        ((*data, "--hide", "sometimes"), "`--hide` must be every:N"),
        ((*data, "--hide", "after:9"), "T before the last time"),
        ((*data, "--hide", "every:2", "--observed-noise", 0), "must be above 0"),
        (("--data", tmp_path / "other.npy"), "must hold trajectories of shape (5, 1, 8)"),
    ):
        code, _, err = physinv("impute", folder / "run", *more, "--out", tmp_path / "c.hdf5")
        assert (code, err.count("\n")) == (2, 1)
        assert told in err
        assert not (tmp_path / "c.hdf5").exists()
