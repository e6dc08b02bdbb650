"""Files appear whole or not at all, and what can't be read is named in one line."""

import hashlib
import os
import sys

import pytest
import torch

from physinv.config.files import (
    check_regular,
    load_tensors,
    read_json,
    read_toml,
    save_tensors,
    sha256,
    write_atomically,
    write_text,
)
from physinv.config.outputs.temporary import temporary_path


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


@pytest.mark.parametrize("text", ["a = " + "[" * 10**5, "a = " + "9" * 5000, "a = 1\na = 2"])
def test_toml_of_any_wrong_shape_is_one_line(tmp_path, text):
    write_text(tmp_path / "x.toml", text)
    with pytest.raises(ValueError, match=r"^.*x\.toml is not valid TOML") as caught:
        read_toml(tmp_path / "x.toml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [check_regular, read_json, read_toml, load_tensors])
def test_pipes_and_devices_are_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("endless", "a device")):
        with pytest.raises(ValueError, match=f"{name} is {kind}, not a file"):
            read(tmp_path / name)


def test_no_changed_bit_of_a_header_goes_unnoticed(tmp_path):
    """Every single bit of it, those of the names of its entries included: a checksum may not get lost."""
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"a": torch.arange(3.0)}, {"format": "test 1"})
    whole = path.read_bytes()
    before, told = load_tensors(path), []
    for place in range(8 + int.from_bytes(whole[:8], "little")):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                tensors, header = load_tensors(path)
            except ValueError as error:
                told.append(str(error))
                continue
            assert header == before[1]
            assert tensors.keys() == before[0].keys()
            assert torch.equal(tensors["a"], before[0]["a"])
    assert len(told) > 1000
    assert not any("\n" in line for line in told)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes")
def test_tensors_are_read_from_a_file_whose_name_is_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.safetensors")
    save_tensors(path, {"w": torch.ones(2)}, {"format": "1"})
    assert torch.equal(load_tensors(path)[0]["w"], torch.ones(2))


def test_keys_of_very_many_parts_are_refused_before_they_take_memory(tmp_path):
    for text in ("a." * 20000 + "b = 1\n", "[" + "a." * 20000 + "b]\n"):
        (tmp_path / "x.toml").write_text(text)
        with pytest.raises(ValueError, match="is not valid TOML that can be read: it is nested too deep"):
            read_toml(tmp_path / "x.toml")
    numbers = ", ".join(["1.5"] * 500)
    (tmp_path / "x.toml").write_text(f"a.b = [\n{numbers},\n]\n")
    assert read_toml(tmp_path / "x.toml") == {"a": {"b": [1.5] * 500}}
