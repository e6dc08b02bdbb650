"""Files appear whole or not at all, and what can't be read is named in one line."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from physinv.config.files import (
    load_tensors,
    read_json,
    read_toml,
    save_tensors,
    sha256,
    sweep,
    temporary_path,
    write_atomically,
    write_text,
)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.txt"
    write_text(path, "old ä\n")

    def fail(temporary):
        assert temporary == temporary_path(path)
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_text("utf-8") == "old ä\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    write_atomically(path, lambda temporary: temporary.write_text("new"))
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_tensors_go_round(tmp_path):
    path, tensors = tmp_path / "x.safetensors", {"a": torch.arange(6.0).view(2, 3).T, "n": torch.tensor(3)}
    save_tensors(path, tensors, {"format": "test 1"})
    found, header = load_tensors(path)
    assert header == {"format": "test 1"}
    assert {k: v.dtype for k, v in found.items()} == {"a": torch.float32, "n": torch.int64}
    assert all(torch.equal(found[k], v) for k, v in tensors.items())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"x\.safetensors is not a readable safetensors file .*; it may be truncated\.$"
    ):
        load_tensors(path)


def test_complex_tensors_go_round_and_files_are_the_same_bytes(tmp_path):
    z = torch.complex(torch.arange(4.0, dtype=torch.float64), -torch.ones(4, dtype=torch.float64)).view(2, 2)
    both = torch.ones(2)
    tensors = {"single": z.cfloat(), "double": z.mT.conj(), "real": both, "same": both, "view": both[:1]}
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, {"format": "test"})
    found, header = load_tensors(tmp_path / "a")
    assert header == {"format": "test"}
    assert {k: v.dtype for k, v in found.items()} == {k: v.dtype for k, v in tensors.items()}
    assert all(torch.equal(found[k], v) for k, v in tensors.items())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_json_and_toml(tmp_path):
    path = tmp_path / "x"
    write_text(path, '{"a": [1, 2.5]}')
    assert read_json(path) == {"a": [1, 2.5]}
    assert sha256(path) == hashlib.sha256(b'{"a": [1, 2.5]}').hexdigest()
    with pytest.raises(ValueError, match=r"x is not valid TOML: "):
        read_toml(path)
    write_text(path, "a = 1\n[b]\nc = [2, 3]\n")
    assert read_toml(path) == {"a": 1, "b": {"c": [2, 3]}}
    with pytest.raises(ValueError, match=r"x is damaged: it is not valid JSON\.$"):
        read_json(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is not valid JSON"):
        read_json(path)
    with pytest.raises(ValueError, match="is not valid TOML"):
        read_toml(path)
    with pytest.raises(FileNotFoundError, match=r"there is no recipe .*gone; write one\.$"):
        read_toml(tmp_path / "gone", kind="recipe", hint="write one.")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.$"):
        read_json(path / "gone")


@contextlib.contextmanager
def writing(path):
    """The temporary file of another process, which lives as long as the block."""
    code = (
        "import sys, pathlib; from physinv.config.files import temporary_path; p = temporary_path(pathlib.Path("
        "sys.argv[1])); p.write_text('half'); print(p, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield path.with_name(Path(process.stdout.readline().strip()).name)
        process.kill()


def test_what_dead_processes_left_of_a_file_goes_with_the_next_one(tmp_path):
    with writing(tmp_path / "x.txt") as dead, writing(tmp_path / "y.txt") as other:
        pass
    with writing(tmp_path / "x.txt") as alive:
        write_text(tmp_path / "x.txt", "whole")
        assert not dead.exists()
        assert other.exists()  # of another file
        assert alive.exists()
        assert sweep(tmp_path) == [alive]
        assert not other.exists()
    assert sweep(tmp_path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_files_of_a_user_stay_whatever_they_are_called(tmp_path):
    names = ["notes.tmp.2024", "x.txt.tmp.1", ".x.txt.physinv-tmp-old", "physinv-tmp-1-00000000", "data.import"]
    for name in names:
        (tmp_path / name).write_text("mine")
    write_text(tmp_path / "x.txt", "whole")
    assert sweep(tmp_path) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "x.txt"])


def test_files_of_other_machines_are_left_over_after_a_day(tmp_path):
    """Process numbers of another container say nothing here."""
    token = "0000" if temporary_path(tmp_path).name[-8:-4] != "0000" else "1111"
    old, new = (tmp_path / f".{name}.physinv-tmp-1-{token}abcd" for name in ("old", "new"))
    (old / "inside").mkdir(parents=True)
    new.write_text("half")
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    assert sweep(tmp_path) == [new]
    assert not old.exists()


@pytest.mark.parametrize("text", ["a = " + "[" * 10**5, "a = " + "9" * 5000, "a = 1\na = 2"])
def test_toml_of_any_wrong_shape_is_one_line(tmp_path, text):
    write_text(tmp_path / "x.toml", text)
    with pytest.raises(ValueError, match=r"^.*x\.toml is not valid TOML") as caught:
        read_toml(tmp_path / "x.toml")
    assert "\n" not in str(caught.value)
