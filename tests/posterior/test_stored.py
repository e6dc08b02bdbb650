"""Reconstruction files are read strictly: no changed bit, no array of another place or shape, no more than is there."""

import fcntl
import json
import os
import random
import resource
import sys

import h5py
import numpy as np
import pytest
import torch

from physinv.data.dataset import TrajectoryDataset
from physinv.data.final_states import final_states
from physinv.data.generate import generate
from physinv.data.plan import DatasetPlan
from physinv.posterior.reconstruction import read_reconstruction
from physinv.runs.reconstruct import reconstruct
from physinv.runs.run import fit_run
from physinv.runs.sampling.plan import SamplingPlan
from simulators.vectors.ornstein_uhlenbeck import OrnsteinUhlenbeck


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Reconstructions of trajectories and of observations alone, as bytes."""
    folder = tmp_path_factory.mktemp("stored")
    generate(
        DatasetPlan(OrnsteinUhlenbeck(dim=3, steps=2), {"train": 40, "valid": 20, "test": 4}, 0, "ornstein-uhlenbeck"),
        folder,
    )
    data = {s: TrajectoryDataset(folder / "data" / s) for s in ("train", "valid", "test")}
    run = fit_run(data["train"], data["valid"], method="exact")
    reconstruct(run, data["test"], folder / "truth.hdf5", SamplingPlan(samples=5, certify=2))
    seen = final_states(data["test"].states(-1), run.simulator.layout)
    reconstruct(run, seen, folder / "alone.hdf5", SamplingPlan(samples=5))
    return {name: (folder / f"{name}.hdf5").read_bytes() for name in ("truth", "alone")}


@pytest.fixture
def path(files, tmp_path):
    (tmp_path / "r.hdf5").write_bytes(files["truth"])
    return tmp_path / "r.hdf5"


def refused(path, words):
    with pytest.raises(ValueError, match=words) as told:
        read_reconstruction(path)
    assert "\n" not in str(told.value)


def everything(path):
    found = read_reconstruction(path)
    return {k: v for k, v in vars(found).items() if isinstance(v, torch.Tensor)}, found.info, found.stale


def everything_or_line(path):
    try:
        return everything(path)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", ["truth", "alone"])
def test_no_single_bit_changes_what_is_read(name, files, tmp_path):
    """benchmarks/bit_flips.py does the same with many more bits, and other files."""
    path, draw = tmp_path / "r.hdf5", random.Random(0)
    path.write_bytes(files[name])
    before, told = everything(path), 0
    for _ in range(60):
        changed = bytearray(files[name])
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        found = everything_or_line(path)
        if isinstance(found, str):
            told += 1
            assert "\n" not in found
        else:
            assert found[0].keys() == before[0].keys()
            assert all(torch.equal(value, before[0][name]) for name, value in found[0].items())
            assert found[1:] == before[1:]
    assert told > 10


def test_no_damaged_byte_is_given_to_hdf5(path):
    """The library would go through a heap of text that was overwritten with zeros for ever."""
    whole = path.read_bytes()
    data = bytearray(whole)
    at = data.index(b"GCOL") + 64
    data[at : at + 2000] = bytes(2000)
    path.write_bytes(data)
    refused(path, r"r\.hdf5 is damaged: bytes \d+ to \d+ differ from their checksum; copy or generate it again")

    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:  # which cuts the checksums of bytes off, as files of earlier versions have none
        file.attrs["mine"] = "x"
    data = bytearray(path.read_bytes())
    data[at : at + 2000] = bytes(2000)
    path.write_bytes(data)
    refused(path, r"r\.hdf5 is damaged: its texts, from byte \d+ on, have no end")


def test_a_file_that_is_being_written_is_not_called_damaged(path):
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="is being written by another process; wait"):
            read_reconstruction(path)


def test_a_changed_number_or_attribute_is_told_and_can_be_meant(path):
    with h5py.File(path, "r+") as file:
        file["samples"][0, 0, 0] += 1
    refused(
        path, r"`samples` does not have the checksum that it was written with; put back a copy, or reconstruct again"
    )
    with h5py.File(path, "r+") as file:
        del file.attrs["checksums_json"]
    read_reconstruction(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.attrs.modify("seed", 5), "`attributes` does not have the checksum"),
        (lambda f: f["observation"].attrs.create("units", "K"), "`attributes` does not have the checksum"),
        (lambda f: f.pop("truth"), "`truth` does not have the checksum"),
        (lambda f: f.move("truth", "truht"), "`truth` does not have the checksum"),
        (lambda f: f.attrs.modify("checksums_json", "[]"), "`checksums_json` of .* is damaged: it must be a JSON obj"),
        (lambda f: f.attrs.modify("checksums_json", "[" * 9999), "`checksums_json` of .* is damaged: it "),
    ],
)
def test_whatever_was_changed_is_told(change, words, path):
    with h5py.File(path, "r+") as file:
        change(file)
    refused(path, words)


def put(name, **options):
    def change(file):
        del file[name]
        file.create_dataset(name, **options)

    return change


def described(**changes):
    def change(file):
        info = {**json.loads(file["info_json"][()]), **changes}
        put("info_json", data=json.dumps({k: v for k, v in info.items() if v is not ...}))(file)

    return change


def linked(link):
    def change(file):
        del file["truth"]
        file["truth"] = link

    return change


def virtual(file):
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.hdf5", "truth", (4, 3))
    del file["truth"]
    file.create_virtual_dataset("truth", layout)


def packed(file):
    """One chunk that declares more than its few bytes can hold."""
    del file["truth"]
    data = file.create_dataset("truth", (10**9, 3), "f4", chunks=(2**28, 3), compression="gzip")
    for at in range(0, 10**9, 2**28):
        data.id.write_direct_chunk((at, 0), b"few")


ZEROS = np.zeros((4, 3), "f4")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            put("truth", shape=(10**9, 3), dtype="f4", chunks=(1, 3)),
            r"`truth` of shape \(1000000000, 3\) was not writt",
        ),
        (
            put("samples", shape=(4, 10**12, 3), dtype="f4", chunks=(1, 1, 3)),
            "`samples` of shape .* was not written who",
        ),
        (put("truth", shape=(10**9, 3), dtype="f4"), "was not written whole"),
        (packed, r"`truth` of shape \(1000000000, 3\) was not written whole"),
        (put("truth", data=ZEROS.astype("i4")), "`truth` must hold floating-point numbers, got int32"),
        (put("truth", data=np.zeros((4, 3), [("a", "f4"), ("b", "f4")])), "`truth` must hold floating-point numbers"),
        (put("truth", data=ZEROS[:2]), r"`truth` must have a row for each of the 4 observations, got shape \(2, 3\)"),
        (put("samples", data=ZEROS), r"`samples` must have states of shape \(3,\) behind 2 axes, got \(4, 3\)"),
        (put("samples", data=np.zeros((4, 5, 2), "f4")), r"`samples` must have states of shape \(3,\)"),
        (put("samples", data=np.zeros((4, 0, 3), "f4")), "`samples` must not be empty"),
        (put("observation", data=np.full((4, 3), np.nan, "f4")), "holds values in `observation` that are not finite"),
        (put("truth", data=np.full((4, 3), np.inf, "f4")), "holds values in `truth` that are not finite"),
        (linked(h5py.SoftLink("/nothing")), "`truth` is a link to something else; copy the array to its place"),
        (linked(h5py.SoftLink("/truth")), "`truth` is a link to something else"),
        (linked(h5py.ExternalLink("/etc/passwd", "/")), "`truth` of .* is a link to another file; write all into this"),
        (virtual, "the values of `truth` lie in another file; copy them into this one"),
        (put("truth", shape=(4, 3), dtype="f4", external=[("/etc/passwd", 0, 48)]), "`truth` of .* in another file"),
        (put("info_json", data="[]"), "`info_json` of .* is damaged: it must be a JSON object, got a list"),
        (put("info_json", data="[" * 10**5), "`info_json` of .* is damaged: it "),
        (put("info_json", data=3.0), "`info_json` of .* is damaged: it must be JSON text"),
        (put("info_json", data=["{}", "{}"]), "`info_json` of .* is damaged: it must be JSON text"),
        (described(schema=9), "has schema 9, this version of physinv reads 2 to 4"),
        (described(schema=[]), r"has schema \[\], this version"),
        (described(parameters=[]), "`info_json` of .* is damaged: `parameters` must be"),
        (described(simulator=...), "`info_json` of .* is damaged: `simulator` is missing"),
        (described(simulator="os:system"), "names a process that cannot be built: "),
        (described(run=[]), "`info_json` of .* is damaged: `run` must be"),
        (described(run={"notes": 3}), r"`info_json` of .* is damaged: `run\.notes` must be"),
        (described(familiarity={}), r"`info_json` of .* is damaged: `familiarity\.distance` is missing"),
        (described(run={"units": [1]}), r"`info_json` of .* is damaged: `run\.units` must be"),
        (described(run={"observation": {"seed": 1}}), r"is damaged: `run\.observation\.observe` is missing"),
        (described(familiarity={"distance": [1.0], "warnings": []}), "`distance` .* each of the 4 observations, got 1"),
        (described(steps="many"), "`info_json` of .* is damaged: `steps` must be"),
    ],
)
def test_what_cannot_be_a_reconstruction_is_refused(change, words, path):
    """Also in files without checksums, as those of earlier versions; at once, whatever size is promised."""
    with h5py.File(path, "r+") as file:
        change(file)
        del file.attrs["checksums_json"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path, words)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # KiB


def test_arrays_that_others_add_are_not_looked_at(path):
    before = everything(path)
    with h5py.File(path, "r+") as file:
        file["mine"] = np.arange(3)
        file.create_group("more")
    arrays, *rest = everything(path)
    assert all(torch.equal(arrays[k], before[0][k]) for k in before[0])
    assert tuple(rest) == before[1:]


def test_files_that_were_packed_again_keep_their_checksums(path, tmp_path):
    """As h5repack does: other chunks, with compression."""
    with h5py.File(path) as file, h5py.File(tmp_path / "packed.hdf5", "w") as packed:
        for name, data in file.items():
            chunks = {"chunks": True, "compression": "gzip"} if data.ndim > 1 else {}
            copy = packed.create_dataset(name, data=data[()], dtype=data.dtype, **chunks)
            for key, value in data.attrs.items():
                if key not in ("DIMENSION_LIST", "REFERENCE_LIST"):
                    copy.attrs.create(key, value)
        for key, value in file.attrs.items():
            packed.attrs[key] = value
    assert torch.equal(read_reconstruction(tmp_path / "packed.hdf5").samples, read_reconstruction(path).samples)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_a_folder_whose_name_is_no_text_is_named_with_escapes(tmp_path):
    named = tmp_path / os.fsdecode(b"\xff")
    generate(
        DatasetPlan(OrnsteinUhlenbeck(dim=1, steps=2), {"train": 20, "valid": 9, "test": 3}, 0, "ornstein-uhlenbeck"),
        named,
    )
    train, valid, test = (TrajectoryDataset(named / "data" / split) for split in ("train", "valid", "test"))
    run = fit_run(train, valid, method="exact")
    reconstruct(run, test, named / "r.hdf5", SamplingPlan(samples=2, certify=0))
    assert read_reconstruction(named / "r.hdf5").samples.shape == (3, 2, 1)
    with h5py.File(named / "r.hdf5") as file:
        assert file.attrs["data"].endswith("/\\udcff/data/test")
