"""A worker: imports everything once, then runs and judges the cases that it is asked for.

``python -m tests.fuzz.worker BASE FOLDER [keep]`` answers ``["make"]``, ``["case", N]``
and ``["flip", N]``, with a seed or without.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.attempt import Expected
from tests.fuzz.cases import SEED, Case, case, flip, set_up, untouched
from tests.fuzz.inputs import make
from tests.fuzz.judge import left_behind, shortfall
from tests.fuzz.pool import serve
from tests.fuzz.process import Ended, command, preload
from tests.fuzz.scenario import Scenario
from tests.fuzz.snapshot import changed, snapshot


class Worker:
    """Runs cases in a folder of its own.

    Args:
        base: The untouched inputs.
        folder: Where to work.
        keep: Whether to leave the folders of cases.
    """

    def __init__(self, base: Path, folder: Path, keep: bool) -> None:
        self.base, self.folder, self.keep = base, folder, keep
        self.known: dict[tuple[str, ...], Any] = {}

    def run(self, one: Case) -> dict[str, Any]:
        """Run a case and judge it."""
        folder = self.folder / f"case-{one.number}"
        shutil.rmtree(folder, ignore_errors=True)
        attempt, expected, mutation = set_up(one, self.base, folder)
        before = snapshot(folder)
        ended = command(attempt.argv, attempt.work)
        reason = shortfall(ended, one.scenario.done) or self._content(one.scenario, expected, attempt.work, ended)
        reason = reason or self._traces(one.scenario, before, folder, ended)
        if not self.keep:
            shutil.rmtree(folder, ignore_errors=True)
        words = " ".join(shlex.quote(w if len(w) < 200 else f"{w[:100]}...({len(w)} characters)") for w in attempt.argv)
        line = ended.err.strip().splitlines()
        return {
            "number": one.number,
            "scenario": one.scenario.name,
            "mutation": mutation,
            "target": one.scenario.target,
            "command": f"physinv {words}",
            "how": ended.how,
            "line": line[-1][:300] if line else "",
            "seconds": round(ended.seconds, 2),
            "megabytes": round(ended.megabytes),
            "reason": reason,
        }

    def _content(self, scenario: Scenario, expected: Expected, work: Path, ended: Ended) -> str:
        if ended.code == 2:
            return (
                ""
                if expected.refuse or scenario.refused
                else f"refused, though the content is as good: {ended.err.strip()[-200:]}"
            )
        if not expected.accept:
            return f"{ended.how}, though it cannot be right"
        if not expected.known:
            return ""
        try:
            content = [ended.code, scenario.content(work, ended.out)]
        except Exception as error:  # whatever is wrong with an output, it is not the content
            return f"exit 0, but its result can't be read: {type(error).__name__}: {error}"
        return "" if content == self._right(scenario, expected.twin) else f"{ended.how} with another content, silently"

    def _right(self, scenario: Scenario, twin: tuple[str, ...]) -> Any:
        """The content for untouched files."""
        key = (scenario.name, *twin)
        if key not in self.known:
            folder = self.folder / "right"
            shutil.rmtree(folder, ignore_errors=True)
            attempt = untouched(scenario, self.base, folder)
            ended = command(twin or attempt.argv, attempt.work)
            if ended.code not in ((2,) if scenario.refused else scenario.done):
                raise RuntimeError(f"{scenario.name} does not work on untouched files: {ended.how}: {ended.err}")
            code = scenario.done[0] if scenario.refused else ended.code
            self.known[key] = [code, scenario.content(attempt.work, ended.out)]
            shutil.rmtree(folder)
        return self.known[key]

    def _traces(self, scenario: Scenario, before: dict[str, Any], folder: Path, ended: Ended) -> str:
        """What was changed beside the output, or left behind."""
        after = snapshot(folder)
        for each in (before, after):
            for name in ("stdout", "stderr"):
                each.pop(name, None)
        changes = changed(before, after)
        if temporary := left_behind(changes):
            return f"{ended.how}, but left {', '.join(temporary[:3])}"
        outputs = [f"work/{name}" for name in scenario.outputs]
        beside = changed(before, after, outputs)
        if not scenario.target:  # the words say where to write: any new place will do
            beside = [change for change in beside if not change.startswith("made work/")]
        return f"{ended.how}, but {', '.join(beside[:3])}" if beside else ""


def main() -> None:
    """Answer requests until there are no more."""
    base, folder = map(Path, sys.argv[1:3])
    worker = Worker(base, folder, keep="keep" in sys.argv[3:])
    preload()
    serve(
        {
            "make": lambda: make(base),
            "case": lambda number, seed=SEED: worker.run(case(number, seed)),
            "flip": lambda number, seed=SEED: worker.run(flip(number, seed)),
        }
    )


if __name__ == "__main__":
    main()
