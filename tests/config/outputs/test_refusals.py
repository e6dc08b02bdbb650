"""Outputs that are refused before anything is computed: what no folder can be, and what no file replaces."""

import os
import stat

import pytest

from physinv.config.files import write_text
from physinv.config.outputs.refusals import check_folder, refuse_existing, refuse_inputs


def test_a_folder_may_be_there_or_be_made(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    for name in ("there", "new", "new/below", "link", "link/below"):
        check_folder(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "there"]


@pytest.mark.parametrize("below", ["", "more", "more/yet"])
def test_no_folder_takes_the_place_of_a_file_or_of_a_link_to_nothing(below, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("missing/at/all")
    (tmp_path / "loop").symlink_to("loop")
    for name, what in (("file", "there is a file"), ("nowhere", "leads nowhere"), ("loop", "leads nowhere")):
        with pytest.raises(NotADirectoryError, match=rf"{name} must be a folder, and .*{what}.*take another name"):
            check_folder(tmp_path / name / below)


@pytest.mark.parametrize("overwrite", [True, False])
def test_no_file_takes_the_place_of_a_pipe(overwrite, tmp_path):
    """As administrator a table that was written to /dev/null took its place, for the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for refused in (lambda: refuse_existing(pipe, "--json", overwrite=overwrite), lambda: write_text(pipe, "{}")):
        with pytest.raises(FileExistsError, match=r"pipe is a pipe or a device, which no file replaces"):
            refused()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_nothing_is_written_among_the_trajectories_of_a_dataset(tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    refuse_inputs(tmp_path / "data" / "train" / "new.hdf5", "--out", [])  # any folders of such names
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match="`--out` must not lie among the trajectories of"):
        refuse_inputs(tmp_path / "data" / "train" / "new.hdf5", "--out", [])
    refuse_inputs(tmp_path / "new.hdf5", "--out", [])
