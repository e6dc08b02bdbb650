"""A worker that lets commands fail or be killed at one of their file-system calls, and looks at what they leave.

Started with calls.c preloaded, it answers ``["plan", DEED]`` and ``["fault", DEED, CALL, ERROR]``; error -1 is a kill.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.faults.deeds import Deed, deeds
from tests.faults.faults import KILL, parse
from tests.fuzz.inputs import make
from tests.fuzz.judge import TEMPORARY, left_behind, shortfall
from tests.fuzz.pool import serve
from tests.fuzz.process import Ended, command, preload
from tests.fuzz.snapshot import changed, snapshot


class Worker:
    """Runs commands with one fault each, in a folder of its own.

    Args:
        library: The compiled calls.c, which is preloaded.
        base: The untouched inputs.
        folder: Where to work.
    """

    def __init__(self, library: Path, base: Path, folder: Path) -> None:
        self.arm = ctypes.CDLL(str(library)).fault_arm
        self.base, self.folder = base, folder
        self.deeds = {deed.name: deed for deed in deeds()}
        self.known: dict[str, list[Any]] = {}

    def plan(self, name: str) -> list[str]:
        """The file-system calls of a command, one line each."""
        deed = self.deeds[name]
        work = self._set_up(deed)
        log = work.parent / "log"
        self._armed(deed, work, -1, 0, log)
        return log.read_text("utf-8", "replace").splitlines()

    def fault(self, name: str, call: int, error: int) -> str:
        """Run a command with a fault; what is wrong with what follows, or nothing."""
        deed = self.deeds[name]
        right = self._right(deed)
        work = self._set_up(deed)
        before = snapshot(work.parent)
        log = work.parent / "log"
        ended = self._armed(deed, work, call, error, log)
        failed = parse(log.read_text("utf-8", "replace").splitlines())[call:]
        log.unlink()
        kind = failed[0].kind if failed else ""
        if error != KILL:
            if reason := shortfall(ended):
                return reason
            if ended.code == 0 and deed.same and deed.content(work, ended.out) != right[-1]:
                return "exit 0 with another content"
        elif ended.code is not None:
            return f"was not killed but ended with {ended.how}"
        return (
            self._traces(deed, before, work, error, kind)
            or self._state(deed, work, right)
            or self._again(deed, work, right)
        )

    def _armed(self, deed: Deed, work: Path, call: int, error: int, log: Path) -> Ended:
        def prepare() -> None:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            self.arm(str(work).encode(), ctypes.c_long(call), error, handle)

        return command(deed.argv, work, prepare)

    def _traces(self, deed: Deed, before: dict[str, Any], work: Path, error: int, kind: str) -> str:
        """What was changed beside the output, and temporary files that an error left."""
        after = snapshot(work.parent)
        for name in ("stdout", "stderr"):
            after.pop(name, None)
        allowed = [f"work/{deed.output}"] if deed.output else []
        beside = changed(before, after, allowed)
        if error == KILL:  # who is killed cannot tidy up; the next one does
            return ", ".join(c for c in beside if not c.startswith(("made tmp/", "made work/")))
        left = left_behind(changed(before, after))
        if left and kind not in ("unlink", "opendir"):
            return f"left {', '.join(left[:3])}"
        beside = [c for c in beside if not (c.startswith("made") and ".lock" in c)]
        return f"but {', '.join(beside[:3])}" if beside and kind not in ("unlink", "opendir") else ""

    def _state(self, deed: Deed, work: Path, right: list[Any]) -> str:
        """Whether what lies under the name of the output is whole, if it says so."""
        if not deed.output or deed.output.endswith(".json") or not (work / deed.output).exists():
            return "the older output is gone" if deed.over else ""
        if deed.name.startswith("benchmark"):
            return ""
        ended = command(("info", deed.output, "--json"), work)
        if reason := shortfall(ended):
            return f"then `info` gives {reason}"
        if ended.code == 2 and not deed.over:
            return ""
        whole = ended.code == 0 and json.loads(ended.out).get("whole", True)
        if whole and deed.content(work, "") not in right:
            return "then `info` calls whole what is neither the older nor the new content"
        if deed.over and not whole:
            return f"then neither the older nor the new output is whole: {ended.err.strip()[-200:]}"
        return ""

    def _again(self, deed: Deed, work: Path, right: list[Any]) -> str:
        """Whether the command goes on to the right content once nothing fails."""
        ended = command(deed.again or deed.argv, work)
        if ended.code == 2 and deed.again:
            ended = command(deed.argv, work)
        if ended.code == 2 and deed.output and not shortfall(ended) and self._is_there(deed, work, right[-1]):
            return ""  # it was finished, and says so
        if ended.code != 0:
            return f"then it does not go on: {ended.how} {ended.err.strip()[-200:]}"
        if deed.same and deed.content(work, ended.out) != right[-1]:
            return "then it goes on to another content"
        left = [p.name for p in (*work.rglob("*"), *(work.parent / "tmp").iterdir()) if TEMPORARY.search(p.name)]
        return f"then {', '.join(left[:3])} stay for ever" if left else ""

    def _is_there(self, deed: Deed, work: Path, right: Any) -> bool:
        try:
            return bool(deed.content(work, "") == right)
        except Exception:  # whatever is wrong with it, it is not there
            return False

    def _right(self, deed: Deed) -> list[Any]:
        """The content before, if there is any, and that after the command."""
        if deed.name not in self.known:
            work = self._set_up(deed)
            before = [deed.content(work, "")] if deed.over else []
            ended = command(deed.argv, work)
            if ended.code != 0:
                raise RuntimeError(f"{deed.name} does not work without faults: {ended.how} {ended.err}")
            self.known[deed.name] = [*before, deed.content(work, ended.out)]
        return self.known[deed.name]

    def _set_up(self, deed: Deed) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        work = self.folder / "work"
        work.mkdir(parents=True)
        (self.folder / "tmp").mkdir()
        for need in deed.needs:
            source, _, name = need.partition(">")
            if (self.base / source).is_dir():
                shutil.copytree(self.base / source, work / (name or source))
            else:
                shutil.copyfile(self.base / source, work / (name or source))
        return work


def main() -> None:
    """Answer requests until there are no more."""
    base, folder, library = map(Path, sys.argv[1:4])
    worker = Worker(library, base, folder)
    preload()
    serve({"make": lambda: make(base), "plan": worker.plan, "fault": worker.fault})


if __name__ == "__main__":
    main()
