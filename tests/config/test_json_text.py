"""Text that is not the object it should be is named in one line, whatever it is."""

import json

import pytest

from physinv.config.json_text import MAX_DEPTH, check_depth, read_object


def test_an_object_is_read_from_text_and_from_bytes():
    told = {"a": [1, 2.5, None], "b": {"c": "ä"}}
    assert read_object(json.dumps(told), "it") == told
    assert read_object(json.dumps(told, ensure_ascii=False).encode(), "it") == told


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not valid JSON"),
        ("{", "it is not valid JSON"),
        (b"\xff{}", "it is not valid JSON"),
        ("[1]", "it must be a JSON object, got a list"),
        ("null", "it must be a JSON object, got null"),
        ("true", "it must be a JSON object, got true or false"),
        ("1.5", "it must be a JSON object, got a number"),
        ('"text"', "it must be a JSON object, got a text"),
        (7, "it must be JSON text, got int"),
        (None, "it must be JSON text, got NoneType"),
        ('{"a": 1, "a": 2}', "it has the key `a` twice"),
        ('{"a": ' + "9" * 5000 + "}", "it holds a number that is too long"),
        ('{"a": ' + "[" * 10**6, f"it must have at most {MAX_DEPTH} levels"),
        ('{"a": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}", f"it must have at most {MAX_DEPTH} levels"),
    ],
)
def test_what_is_no_object_is_refused_in_one_line(text, reason):
    with pytest.raises(ValueError, match=r"^the settings of x is damaged") as caught:
        read_object(text, "the settings of x")
    assert str(caught.value) == f"the settings of x is damaged: {reason}."


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": [1, -Infinity]}'])
def test_numbers_that_are_not_finite_are_refused_where_none_were_written(text):
    assert list(read_object(text, "it")) == ["a"]
    with pytest.raises(ValueError, match=r"^it is damaged: it holds a number that is not finite\.$"):
        read_object(text, "it", finite=True)


def test_the_last_level_that_is_allowed():
    deepest = '{"a": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1) + "}"
    assert list(read_object(deepest, "it")) == ["a"]
    check_depth(json.loads(deepest), "it")
