"""Files are replaced as a whole: killed at any call of the file system, a folder holds the old ones or the new ones."""

import errno
import os
import shutil

import pytest
from kill_cases import content, killed_everywhere

from physinv.config.outputs.replace import complete, settle, settle_above, staging, swap

OLD = {"a.txt": "old a", "b.txt": "old b", "sub/c.txt": "old c", "gone/d.txt": "old d", "mine.txt": "of the user"}
NEW = {"a.txt": "new a", "sub/c.txt": "new c", "sub/deep/e.txt": "new e"}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def made(folder):
    write(folder, OLD)
    write(staging(folder), NEW)
    return [folder / name for name in OLD if name != "mine.txt"]


def test_all_files_are_replaced_and_those_of_others_stay(tmp_path):
    old = made(tmp_path)
    swap(staging(tmp_path), tmp_path, old)
    assert read(tmp_path) == {**NEW, "mine.txt": "of the user"}
    assert not (tmp_path / "gone").exists()
    complete(tmp_path)
    settle(tmp_path)
    assert read(tmp_path) == {**NEW, "mine.txt": "of the user"}


def test_a_kill_at_any_call_leaves_the_old_files_or_the_new_ones(tmp_path, monkeypatch):
    new, seen = {**NEW, "mine.txt": "of the user"}, set()

    def work(number):
        swap(staging(tmp_path / str(number)), tmp_path / str(number), olds[number])

    olds = {number: made(tmp_path / str(number)) for number in range(1, 80)}
    for number in killed_everywhere(monkeypatch, work):
        folder = tmp_path / str(number)
        settle(folder)  # what every reader does first
        found = {name: text.decode() for name, text in content(folder).items()}
        assert found in (OLD, new), number
        seen.add(found == new)
        if found == OLD:  # the next attempt is as good as the first
            swap(staging(folder), folder, olds[number])
            assert {name: text.decode() for name, text in content(folder).items()} == new
    assert seen == {False, True}
    assert number > len(NEW) + 3  # every renaming and every removal was met


def test_what_was_decided_is_completed_by_whoever_reads_below(tmp_path):
    made(tmp_path)
    (staging(tmp_path)).rename(tmp_path / ".physinv-swap")
    settle_above(tmp_path / "sub" / "deep" / "e.txt")
    assert (tmp_path / "sub" / "deep" / "e.txt").read_text() == "new e"
    assert not (tmp_path / ".physinv-swap").exists()


def test_a_reader_who_may_not_write_is_told_what_to_do(tmp_path, monkeypatch):
    made(tmp_path)
    (staging(tmp_path)).rename(tmp_path / ".physinv-swap")

    def fail(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", "x")

    monkeypatch.setattr("physinv.config.outputs.replace.complete", fail)
    with pytest.raises(OSError, match=r"were being replaced when a command was stopped; run `physinv info"):
        settle(tmp_path)


def test_files_reach_another_disk_through_a_link(tmp_path, monkeypatch):
    """A folder of the old files is a link to another disk, to which nothing can be renamed."""
    made(tmp_path / "run")
    shutil.move(tmp_path / "run" / "sub", tmp_path / "disk")
    (tmp_path / "run" / "sub").symlink_to(tmp_path / "disk")
    rename = os.replace

    def replace(a, b):
        if ".physinv-swap" in str(a) and "sub" in str(b):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(a, b)

    monkeypatch.setattr(os, "replace", replace)
    swap(staging(tmp_path / "run"), tmp_path / "run", [tmp_path / "run" / "a.txt"])
    assert (tmp_path / "run" / "sub").is_symlink()
    assert (tmp_path / "disk" / "c.txt").read_text() == "new c"
    assert (tmp_path / "run" / "sub" / "deep" / "e.txt").read_text() == "new e"


def test_half_written_files_of_a_killed_process_do_not_come_along(tmp_path):
    old = made(tmp_path)
    half = ".a.txt.physinv-tmp-123-00000000"
    (staging(tmp_path) / half).write_text("half")
    swap(staging(tmp_path), tmp_path, old)
    assert half not in read(tmp_path)
