"""Lines of the log tell when their numbers have changed."""

import json

import pytest

from physinv.training.log_lines import log_line, read_log

LINES = [{"step": 0, "loss": 0.5}, {"step": 200, "loss": 0.25}]


def test_lines_come_back_without_their_checksums_and_half_a_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    path.write_text("".join(log_line(x) for x in LINES) + log_line(LINES[0])[:-1])
    assert read_log(path) == LINES


@pytest.mark.parametrize(
    "rest", [bytes(40), b"PK\x03\x04", b"[[[", b"{}", b'{"step": 400, "loss": 0.1}*', b'{"step": 4\x00\x00', b"\xff"]
)
def test_what_follows_the_last_line_is_the_beginning_of_one_or_damage(rest, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes("".join(log_line(x) for x in LINES).encode() + rest)
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged: what follows line 2 is not the beginning"):
        read_log(path)


def test_a_changed_digit_is_told_with_its_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(log_line(x) for x in LINES).replace("0.25", "0.24"))
    with pytest.raises(ValueError, match=r"^line 2 of .*log\.jsonl is damaged: it does not have the checksum"):
        read_log(path)


def test_lines_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(x) + "\n" for x in LINES))
    assert read_log(path) == LINES
