"""Words of ``--set`` become the values that TOML would give."""

import pytest

from physinv.cli.options import read_assignments


def test_words_become_values():
    words = ["rate=1e-3", "prior = edges", "windows=[2, 4]", "quick=true", "rate=2", "text=a=b", "empty="]
    assert read_assignments(words) == {
        "rate": 2,
        "prior": "edges",
        "windows": [2, 4],
        "quick": True,
        "text": "a=b",
        "empty": "",
    }


def test_whole_numbers_may_have_an_exponent():
    found = read_assignments(["batch=1e12", "steps=-2e0", "rate=1e-3", "horizon=1.0e2", "huge=1e300"])
    assert found == {"batch": 10**12, "steps": -2, "rate": 0.001, "horizon": 100.0, "huge": 1e300}
    assert {k: type(v) for k, v in found.items() if k != "rate"} == {
        "batch": int,
        "steps": int,
        "horizon": float,
        "huge": float,
    }


@pytest.mark.parametrize("word", ["rate", "=3", " =3"])
def test_a_word_without_key_or_value_is_named(word):
    with pytest.raises(ValueError, match=f"takes key=value, got '{word}'"):
        read_assignments([word])


def test_values_nested_too_deep_are_named():
    with pytest.raises(ValueError, match=r"^`--set` a has a value that is nested too deep\.$"):
        read_assignments(["a=" + "[" * 10**5])
