"""Files are replaced as a whole: killed at any call of the file system, a folder holds the old ones or the new ones."""

import errno
import json
import os
import shutil

import pytest
from kill_cases import content, killed_everywhere

from physinv.config.outputs.replace import complete, settle, settle_above, staging, swap

OLD = {"a.json": "old a", "b.json": "old b", "sub/c.json": "old c", "gone/d.json": "old d", "mine.json": "of the user"}
NEW = {"a.json": "new a", "sub/c.json": "new c", "sub/deep/e.json": "new e"}


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def made(folder):
    write(folder, OLD)
    write(staging(folder), NEW)
    return [folder / name for name in OLD if name != "mine.json"]


def test_all_files_are_replaced_and_those_of_others_stay(tmp_path):
    old = made(tmp_path)
    swap(staging(tmp_path), tmp_path, old)
    assert read(tmp_path) == {**NEW, "mine.json": "of the user"}
    assert not (tmp_path / "gone").exists()
    complete(tmp_path)
    settle(tmp_path)
    assert read(tmp_path) == {**NEW, "mine.json": "of the user"}


def test_a_kill_at_any_call_leaves_the_old_files_or_the_new_ones(tmp_path, monkeypatch):
    new, seen = {**NEW, "mine.json": "of the user"}, set()

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
    settle_above(tmp_path / "sub" / "deep" / "e.json")
    assert (tmp_path / "sub" / "deep" / "e.json").read_text() == "new e"
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
    swap(staging(tmp_path / "run"), tmp_path / "run", [tmp_path / "run" / "a.json"])
    assert (tmp_path / "run" / "sub").is_symlink()
    assert (tmp_path / "disk" / "c.json").read_text() == "new c"
    assert (tmp_path / "run" / "sub" / "deep" / "e.json").read_text() == "new e"


def test_half_written_files_of_a_killed_process_do_not_come_along(tmp_path):
    old = made(tmp_path)
    half = ".a.json.physinv-tmp-123-00000000"
    (staging(tmp_path) / half).write_text("half")
    swap(staging(tmp_path), tmp_path, old)
    assert half not in read(tmp_path)


def planted(folder, gone=()):
    """A replacement that nobody decided, in a folder from elsewhere."""
    hidden = folder / ".physinv-swap"
    hidden.mkdir(parents=True)
    (hidden / ".physinv-gone.json").write_text(json.dumps(gone))
    return hidden


@pytest.mark.parametrize(
    "name", ["../victim.json", "{}/victim.json", "x/../../victim.json", "link/victim.json", "./a.json", ""]
)
def test_nothing_is_removed_beyond_the_folder(name, tmp_path):
    write(tmp_path, {"victim.json": "of the user", "d/a.json": "1"})
    (tmp_path / "d" / "link").symlink_to(tmp_path)
    planted(tmp_path / "d", [name.format(tmp_path)])
    with pytest.raises(
        ValueError, match=r"is a replacement of files that was stopped, of which .* (leads out|lies behind|is of)"
    ):
        settle_above(tmp_path / "d" / "a.json")
    assert (tmp_path / "victim.json").read_text() == "of the user"


def test_nothing_is_moved_through_links_or_over_files_of_other_kinds(tmp_path):
    write(tmp_path, {"home/a.json": "of the user", "d/notes.md": "of the user", "e/a.json": "1", "f/a.json": "1"})
    (tmp_path / "d" / "x").symlink_to(tmp_path / "home")
    hidden = planted(tmp_path / "d")
    for files, why in (({"x/a.json": "1"}, "lies behind a link"), ({"notes.md": "1"}, "is of no kind")):
        shutil.rmtree(hidden)
        write(hidden, files)
        with pytest.raises(ValueError, match=why):
            settle(tmp_path / "d")
    (tmp_path / "e" / ".physinv-swap").symlink_to(tmp_path / "home")
    (tmp_path / "f" / ".physinv-new").symlink_to(tmp_path / "home")
    for reach in (lambda: settle(tmp_path / "e"), lambda: staging(tmp_path / "f")):
        with pytest.raises(ValueError, match="is a link, of which physinv makes none"):
            reach()
    assert (tmp_path / "home" / "a.json").read_text() == (tmp_path / "d" / "notes.md").read_text() == "of the user"


@pytest.mark.parametrize("gone", [1, None, [1], [[]], {"a.json": 1}])
def test_a_list_of_other_things_is_damage(gone, tmp_path):
    planted(tmp_path, gone)
    with pytest.raises(ValueError, match="is damaged: it is no list of names"):
        settle(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="files of others take root to make")
def test_a_replacement_of_others_is_theirs(tmp_path):
    write(tmp_path, {"a.json": "1"})
    os.chown(planted(tmp_path, ["a.json"]), 4321, -1)
    with pytest.raises(ValueError, match="were being replaced by another user"):
        settle(tmp_path)
    tmp_path.chmod(0o1777)  # where everybody may plant one, it is none
    settle(tmp_path)
    assert (tmp_path / "a.json").exists()
