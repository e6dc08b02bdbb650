"""Pipes in the place of files of a run or a reconstruction are refused, not waited for."""

import os

import pytest

from physinv.posterior.stored import check_replaceable, read_stored
from physinv.runs.files import logs
from physinv.runs.run_json import read_info


def test_in_the_place_of_run_json(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(ValueError, match=r"run\.json is a pipe, not a file"):
        read_info(tmp_path)


def test_in_the_place_of_a_log(tmp_path):
    os.mkfifo(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match=r"log\.jsonl is a pipe, not a file"):
        logs(tmp_path)


@pytest.mark.parametrize("read", [read_stored, check_replaceable])
def test_in_the_place_of_a_reconstruction(tmp_path, read):
    os.mkfifo(tmp_path / "r.hdf5")
    with pytest.raises(ValueError, match=r"r\.hdf5 is a pipe, not a file"):
        read(tmp_path / "r.hdf5")
