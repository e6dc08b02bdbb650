"""Observations at several times on the command line: of a dataset, of a TOML file, forecasts, and what is refused."""

import json
import math

import h5py
import numpy as np
import pytest
import torch
import xarray

from physinv.cli import app as cli
from physinv.data.dataset import TrajectoryDataset
from physinv.posterior.reconstruction import read_reconstruction
from simulators.fields.heat import Heat


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dataset of a process whose exact smoother is known, and a record of its first three test trajectories."""
    folder = tmp_path_factory.mktemp("records")
    cli.main(f"generate heat --out {folder} --train 60 --valid 20 --test 8 --set size=8 --set steps=4".split())
    x = TrajectoryDataset(folder / "heat/data/test").trajectories(slice(0, 3)).numpy()
    mask = np.zeros((8, 8), dtype=bool)
    mask[::3, 1::2] = True
    np.save(folder / "mask.npy", mask)
    np.save(folder / "blind.npy", mask & False)
    np.save(folder / "unsure.npy", np.where(mask, 1.0, np.nan))
    np.save(folder / "shares.npy", 0.3 * mask)
    np.save(folder / "early.npy", x[:, 2, 0, ::2, ::2])
    late = x[:, 4, 0][:, mask]
    late[1, 5] = np.nan
    np.save(folder / "late.npy", late)
    (folder / "record.toml").write_text(
        """
        [[entry]]
        at = 0.1
        observe = "every:2"
        noise = 0.02
        data = "early.npy"

        [[entry]]
        at = 0.2
        mask = "mask.npy"
        noise = 0.03
        data = "late.npy"
        """
    )
    return folder


def words(folder, out, *more):
    return ("reconstruct", "--method", "exact", "--train", folder / "heat", "--out", out, *more)


def test_a_dataset_seen_at_several_times(folder, physinv, tmp_path):
    """Draws are those of the exact smoother, by the mean over trajectories of the squared distance from its mean."""
    out, times = tmp_path / "a.hdf5", [0.0, 0.05, 0.1, 0.15, 0.2]
    at = ("--observe", "sensors:0.5", "--observed-noise", 0.05, "--at", "0.1,0.2")
    data = ("--data", folder / "heat/data/test", "--samples", 32)
    code, said, err = physinv(*words(folder, out, *data, *at, "--frames", "all"))
    assert code == 0, err
    recon = read_reconstruction(out)
    assert recon.time.tolist() == pytest.approx(times)
    assert torch.equal(recon.frames[:, :, 0], recon.samples)
    assert torch.equal(recon.frames_truth[:, 0], recon.truth)
    law = Heat(size=8, steps=4).exact().given(recon.record)
    gap = (recon.frames.double() - law.mean_at(recon.seen.double(), times)[:, None]) / law.deviation_at(times)
    # 16384 normal numbers at each time, of which the smoothest waves are some 8 x 32 x 10 independent ones
    assert torch.allclose(gap.square().mean((0, 1, 3, 4, 5)), torch.ones(5, dtype=torch.float64), atol=5 * 0.03)
    with xarray.open_dataset(out, engine="h5netcdf", phony_dims="sort") as opened:
        assert opened["frames"].dims == ("observation_index", "draw", "time", "channel", "x", "y")
    code, said, err = physinv("evaluate", out)
    assert code == 0, err
    assert "crps" in said


def test_draws_and_noise_do_not_depend_on_the_limit(folder, physinv, tmp_path):
    data, found = ("--data", folder / "heat/data/test", "--observe", "sensors:0.5", "--at", "0.1,0.2"), []
    for limit in (8, 5, 1):
        out = tmp_path / f"{limit}.hdf5"
        code, _, err = physinv(*words(folder, out, *data, "--frames", "0.1", "--samples", 4, "--limit", limit))
        assert code == 0, err
        found.append(read_reconstruction(out))
        assert len(found[-1].samples) == len(found[-1].seen) == len(found[-1].truth) == limit
    for other in found[1:]:
        for name in ("seen", "samples", "frames", "truth", "frames_truth"):
            assert torch.equal(getattr(found[0], name)[: len(other.samples)], getattr(other, name)), name


def test_a_record_in_files_with_a_forecast(folder, physinv, tmp_path):
    out = tmp_path / "b.hdf5"
    record = ("--record", folder / "record.toml", "--frames", "0.2,0.4", "--samples", 64)
    code, _, err = physinv(*words(folder, out, *record))
    assert code == 0, err
    recon = read_reconstruction(out)
    assert recon.truth is None
    assert recon.frames.shape == (3, 64, 2, 1, 8, 8)
    assert recon.record.times == (0.1, 0.2)
    assert int(recon.seen.isnan().sum()) == 1
    law = Heat(size=8, steps=4).exact().given(recon.record)
    gap = recon.frames.mean(1).double() - law.mean_at(recon.seen.double(), [0.2, 0.4])
    deviation = law.deviation_at([0.2, 0.4])
    assert bool((gap.abs() < 6 * deviation / math.sqrt(64)).all())  # the largest of 384: six standard errors
    with h5py.File(out) as file:
        assert "truth" not in file
        assert "frames_truth" not in file
    assert physinv("evaluate", out)[0] == 0


def test_times_beyond_the_last_are_answered_and_told(folder, physinv, tmp_path):
    later = folder / "later.toml"
    later.write_text((folder / "record.toml").read_text().replace("at = 0.2", "at = 0.3"))
    told = "1 of 2 times of the record lie beyond T = 0.2, up to 0.3"
    for record, count in ((later, 1), (folder / "record.toml", 0)):
        code, said, err = physinv(
            *words(folder, tmp_path / "out.hdf5", "--record", record, "--samples", 2, "--overwrite")
        )
        assert code == 0, err
        assert " ".join((said + err).split()).count(told) == count


def test_draws_given_a_record_are_refined(folder, physinv, tmp_path):
    """Exact draws stay exact, by their squared distance from the exact mean, and the file says how they were moved."""
    out = tmp_path / "refined.hdf5"
    at = ("--observe", "sensors:0.5", "--observed-noise", 0.05, "--at", "0.1,0.2", "--frames", "0.2,0.3")
    data = ("--data", folder / "heat/data/test", "--samples", 8, "--refine", 8, "--limit", 2)
    code, _, err = physinv(*words(folder, out, *data, *at))
    assert code == 0, err
    recon = read_reconstruction(out)
    assert recon.info["refine"] == 8
    law, times = Heat(size=8, steps=4).exact().given(recon.record), [0.2, 0.3]
    gap = (recon.frames.double() - law.mean_at(recon.seen.double(), times)[:, None]) / law.deviation_at(times)
    # of the smoothest waves some 10 x 2 x 8 numbers are independent: five standard errors of their mean square
    assert torch.allclose(gap.square().mean((0, 1, 3, 4, 5)), torch.ones(2, dtype=torch.float64), atol=5 * 0.11)


def test_initial_states_that_are_seen_themselves(folder, physinv, tmp_path):
    """Given noisy initial states alone, the mean square of standardised gaps from the exact law is 1."""
    out = tmp_path / "f.hdf5"
    data = ("--data", folder / "heat/data/test", "--at", "0", "--observed-noise", 0.1, "--samples", 16)
    code, _, err = physinv(*words(folder, out, *data))
    assert code == 0, err
    recon = read_reconstruction(out)
    law = Heat(size=8, steps=4).exact().given(recon.record)
    gap = (recon.samples.double() - law.mean_at(recon.seen.double(), [0.0])) / law.deviation_at([0.0])
    assert float(gap.square().mean()) == pytest.approx(1.0, abs=5 * (2 / (8 * 16 * 20)) ** 0.5)


def test_a_record_in_another_unit_is_told_and_refused_by_strict(folder, physinv, tmp_path):
    out = tmp_path / "d.hdf5"
    np.save(tmp_path / "early.npy", 1000 * np.load(folder / "early.npy"))
    text = (folder / "record.toml").read_text().partition("[[entry]]")[2].partition("[[entry]]")[0]
    (tmp_path / "record.toml").write_text("[[entry]]" + text)
    asked = words(folder, out, "--record", tmp_path / "record.toml", "--samples", 2)
    code, said, err = physinv(*asked, "--strict")
    assert (code, said) == (2, "")
    assert err.count("\n") == 1
    assert "unit" in err
    assert not out.exists()
    assert physinv(*asked)[0] == 0
    assert read_reconstruction(out).info["warnings"] == [err.removeprefix("physinv: ").strip()]
    good = words(folder, tmp_path / "e.hdf5", "--record", folder / "record.toml", "--samples", 2, "--strict")
    assert physinv(*good)[0] == 0


def test_what_cannot_be_used_is_told_in_one_line(folder, physinv, tmp_path):
    out, data = tmp_path / "c.hdf5", ("--data", folder / "heat/data/test")
    for more, told in (
        ((*data, "--at", "0.1,0.3"), "`at` must be stored times, 0 to 0.2 in 4 steps of 0.05, got [0.3]"),
        ((*data, "--at", "0.1,0.1"), "`--at` must be numbers that differ, got 0.1,0.1"),
        ((*data, "--at", "a"), "`--at` must be numbers separated by commas"),
        ((*data, "--frames", "all"), "give `--data` with `--at`"),
        ((*data, "--at", "0.1", "--certify", 0), "`--certify` is not for observations at several times"),
        ((*data, "--at", "0.1", "--variable", "u"), "`--variable` is not for observations at several times"),
        (("--record", folder / "record.toml", "--at", "0.1"), "give `--data` with `--at`"),
        (("--record", folder / "record.toml", "--observe", "every:2"), "`--observe` is said in the file of `--record`"),
        (
            ("--record", folder / "record.toml", "--observed-noise", 0),
            "`--observed-noise` is said in the file of `--re",
        ),
        (("--record", folder / "none.toml"), "none.toml"),
    ):
        code, _, err = physinv(*words(folder, out, *more))
        assert (code, err.count("\n")) == (2, 1)
        assert told in err
        assert not out.exists()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("at = 0.1", "at = -0.1", "`entry.0.at` must be greater than or equal to 0, got -0.1"),
        ('observe = "every:2"', 'observe = "sensors:0.5"', "say where they are by `mask`"),
        ('observe = "every:2"', 'observe = "every:3"', "`factor` must divide the grid"),
        ('observe = "every:2"', "", "`observe` or `mask` of entry 0"),
        ('mask = "mask.npy"', 'mask = "mask.npy"\nobserve = "every:2"', "`observe` or `mask` of entry 1"),
        ('mask = "mask.npy"', 'mask = "blind.npy"', "`mask` of entry 1"),
        ('mask = "mask.npy"', 'mask = "late.npy"', "`mask` of entry 1"),
        ('mask = "mask.npy"', 'mask = "unsure.npy"', "`mask` of entry 1 of"),
        ('mask = "mask.npy"', 'mask = "shares.npy"', "must be true or false everywhere, got 0.3; write 0 and 1"),
        ("at = 0.1", "at = [0.1, 0.1]", "`at` of entry 0 of"),
        ('data = "late.npy"', 'data = "early.npy"', "`data` of entry 1"),
        ('data = "late.npy"', 'data = "/etc/hostname"', "must lie in the folder of the record"),
        ('data = "late.npy"', 'data = "heat/../../late.npy"', "must lie in the folder of the record"),
        ("noise = 0.02", "sigma = 0.02", "sigma"),
    ],
)
def test_records_that_contradict_themselves(folder, physinv, tmp_path, before, after, told):
    text = (folder / "record.toml").read_text()
    assert before in text
    wrong = folder / "wrong.toml"
    wrong.write_text(text.replace(before, after, 1))
    code, _, err = physinv(*words(folder, tmp_path / "d.hdf5", "--record", wrong))
    assert (code, err.count("\n")) == (2, 1)
    assert told in err


def test_methods_without_records_say_so(folder, physinv, tmp_path):
    more = ("--data", folder / "heat/data/test", "--at", "0.1", "--out", tmp_path / "e.hdf5")
    code, _, err = physinv("reconstruct", "--method", "physics", "--train", folder / "heat", *more)
    assert code == 2
    assert "method `physics` answers no records of several times; take mcmc" in err


def test_noise_that_nobody_knows(folder, physinv, tmp_path):
    """Every trajectory has a level of its own, drawn with the states; evaluate scores both beside exact ones."""
    out, law = tmp_path / "unknown.hdf5", "log_uniform:0.02:0.5"
    at = ("--observe", "sensors:0.5", "--observed-noise", law, "--at", "0.1,0.2", "--frames", "0.1,0.3")
    code, _, err = physinv(*words(folder, out, "--data", folder / "heat/data/test", "--samples", 8, *at))
    assert code == 0, err
    recon = read_reconstruction(out)
    assert recon.simulator.unknown == ("observed_noise",)
    assert recon.samples.shape == (8, 8, 2, 8, 8)
    assert torch.equal(recon.frames[:, :, 1, 1], recon.samples[:, :, 1])  # the level does not move
    levels = recon.truth[:, 1, 0, 0]
    assert len(levels.unique()) == 8
    missed = recon.record.clean(recon.frames_truth[:, :1].expand(-1, 2, -1, -1, -1))
    assert missed.shape == recon.seen.shape
    with h5py.File(out) as file:
        assert file["parameters"].shape == (8, 8, 1)
        assert np.allclose(file["true_parameters"][:, 0], levels)
    code, _, err = physinv("evaluate", out, "--json", tmp_path / "table.json")
    assert code == 0, err
    rows = {row["metric"]: row for row in json.loads((tmp_path / "table.json").read_text())["metrics"]}
    assert rows["crps_observed_noise"]["exact"] is not None
    other = ("reconstruct", "--method", "gauss-newton", "--train", folder / "heat", "--out", tmp_path / "other.hdf5")
    code, _, err = physinv(*other, "--data", folder / "heat/data/test", *at)
    assert code == 2
    assert err.strip() == "physinv: the noise must be known; take mcmc, importance or exact, which draw its level."


def test_a_record_of_unknown_noise_in_a_file(folder, physinv, tmp_path):
    text, out = (folder / "record.toml").read_text(), tmp_path / "own.hdf5"
    record = folder / "unknown.toml"
    record.write_text("observed_noise = {log_uniform = [0.01, 0.5]}\n" + text.replace("noise = 0.02", ""))
    code, _, err = physinv(*words(folder, out, "--record", record, "--samples", 4, "--frames", "0.2"))
    assert code == 0, err
    assert read_reconstruction(out).samples.shape == (3, 4, 2, 8, 8)
    record.write_text(text.replace("noise = 0.02", ""))
    code, _, err = physinv(*words(folder, out, "--record", record, "--overwrite"))
    assert code == 2
    assert "or give `observed_noise` a law before all entries" in err


def test_a_number_of_noise_belongs_to_the_final_time_as_well(folder, physinv, tmp_path):
    """Without `--at` the noise is one number; a prior is refused, and says where it belongs."""
    part = (*words(folder, tmp_path / "part.hdf5"), "--data", folder / "heat/data/test", "--observe", "sensors:0.5")
    code, _, err = physinv(*part, "--samples", 2, "--observed-noise", 0.1)
    assert code == 0, err
    code, _, err = physinv(*part, "--overwrite", "--observed-noise", "log_uniform:0.02:0.5")
    assert code == 2
    assert "priors such as log_uniform:0.02:0.5 for `train`, and for records of some times (`at`)" in err
