"""Some faults and kills of each kind; `make faults` lets 300 calls fail and kills each command 20 times."""

import itertools

import pytest

from tests.faults.__main__ import chosen, describe, open_pool, planned
from tests.faults.deeds import deeds
from tests.faults.faults import KILL
from tests.faults.library import compiler
from tests.fuzz.pool import BROKEN, inputs_of_all

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler for the library of failing calls")

NAMES = [deed.name for deed in deeds() if deed.name != "benchmark"]
FAULTS, KILLS = 2, 1  # of each command


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    base = inputs_of_all(tmp_path_factory.getbasetemp())
    with open_pool(tmp_path_factory.mktemp("faults") / "here", 1, base) as workers:
        yield workers


@pytest.mark.parametrize("name", NAMES)
def test_a_failing_call_is_one_line_and_a_kill_loses_nothing(pool, name):
    calls = planned(pool, [name])
    wanted = chosen(calls, FAULTS, KILLS)
    assert {request[3] == KILL for request in wanted} >= {True}
    found = []
    for request, reply in pool.run(wanted):
        if reason := reply.get(BROKEN) or reply["answer"]:
            found.append(describe(request, calls, reason))
    assert not found


def test_faults_are_of_many_kinds(pool):
    calls = planned(pool, ["generate"])
    wanted = list(itertools.islice(chosen(calls, 40, 0), 40))
    kinds = {(calls["generate"][request[2]].kind, request[3]) for request in wanted}
    assert len(kinds) > 10
