"""200 numbered cases and 100 flips of single bits keep the invariant; `make fuzz` runs 3000 and 1000."""

import pytest

from tests.fuzz.__main__ import describe
from tests.fuzz.cases import case, flip
from tests.fuzz.pool import BROKEN, Pool, inputs_of_all

CASES, FLIPS, AT_ONCE = 200, 100, 20


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    base = inputs_of_all(tmp_path_factory.getbasetemp())
    with Pool("tests.fuzz.worker", tmp_path_factory.mktemp("fuzz") / "here", base=base) as workers:
        yield workers


def shortfalls(pool, word, numbers):
    """What falls short among numbered cases, in words."""
    found = []
    for request, reply in pool.run([word, number] for number in numbers):
        if BROKEN in reply:
            found.append(f"{word} {request[1]}: {reply[BROKEN]}")
        elif reply["answer"]["reason"]:
            found.append(describe(word, reply["answer"]))
    return found


@pytest.mark.parametrize("first", range(0, CASES, AT_ONCE))
def test_cases_are_answered_rightly_or_refused_in_one_line(pool, first):
    assert not shortfalls(pool, "case", range(first, first + AT_ONCE))


@pytest.mark.parametrize("first", range(0, FLIPS, AT_ONCE))
def test_no_flip_of_a_bit_changes_content_silently(pool, first):
    assert not shortfalls(pool, "flip", range(first, first + AT_ONCE))


def test_a_number_is_the_same_case_everywhere():
    assert str(case(7)) == str(case(7))
    assert len({str(case(n)) for n in range(300)}) == 300
    assert len({flip(n).scenario.name for n in range(100)}) == len({flip(n).scenario.name for n in range(200)})
