"""Examples of a report that cannot be are refused in one line, before memory is taken for what they declare."""

import io
import json
import os
import zipfile

import numpy as np
import pytest

from physinv.comparison import examples
from physinv.comparison.examples import read_examples


def member(shape, descr="'<f4'"):
    """The beginning of an array that declares a shape."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def layout(text):
    file = io.BytesIO()
    np.save(file, np.array(text))
    return file.getvalue()


@pytest.mark.parametrize(
    "members",
    [
        {"truth": member("(1000000000000,)")},
        {"truth": member("(-1,)")},
        {"truth": member("(1,)", "'|O'")},
        {"truth": b""},
        {"truth": member("((((")[:60].ljust(128)},
        {"layout": layout("[" * 50_000)},
        {"layout": layout("[1]")},
        {"layout": layout(json.dumps({"kind": "other"}))},
        {},
    ],
)
def test_what_is_no_example_is_one_line(tmp_path, members):
    (tmp_path / "examples").mkdir()
    with zipfile.ZipFile(tmp_path / "examples" / "x.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    with pytest.raises(ValueError, match=r"x\.npz is no example of a benchmark") as caught:
        read_examples(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    (tmp_path / "examples").mkdir()
    np.savez_compressed(tmp_path / "examples" / "x.npz", truth=np.zeros(10**6))
    monkeypatch.setattr(examples, "MOST_BYTES", 10**6)
    with pytest.raises(ValueError, match="it unpacks to 8000128 bytes"):
        read_examples(tmp_path)


def test_pipes_are_not_waited_for(tmp_path):
    (tmp_path / "examples").mkdir()
    os.mkfifo(tmp_path / "examples" / "x.npz")
    with pytest.raises(ValueError, match="is a pipe"):
        read_examples(tmp_path)
