"""Count the files of physinv/ and simulators/ that really run in `physinv train` and in `physinv reconstruct`.

python benchmarks/files_run.py    on a tiny dataset of Burgers' equation; both numbers and the names

A file runs if one of its functions is called, during imports too; bodies of modules and of classes do not count, nor
does the lazy ``__getattr__`` of the package.  The fewer files, the less a newcomer has to read to follow a command.
"""

from __future__ import annotations

import argparse
import collections
import inspect
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "train": "train burgers --out run --steps 4 --set width=8 --set validate_every=2 --set validate_windows=8",
    "reconstruct": "reconstruct run --data burgers/data/test --out samples.hdf5 --samples 2",
}
DATASET = "generate burgers --out . --train 8 --valid 4 --test 2 --set size=16"


def counts(code: CodeType) -> bool:
    """Whether a call of ``code`` makes its file one that runs: functions and lambdas, but no other body."""
    comprehension = code.co_name.startswith("<") and code.co_name != "<lambda>"
    lazy = code.co_name == "__getattr__" and code.co_filename.endswith("physinv/__init__.py")
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not comprehension and not lazy


def traced(words: list[str]) -> list[str]:
    """Run a command in this process, and list the files that run, relative to the root of the repository."""
    seen: set[CodeType] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        from physinv.cli.app import main

        main(words)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    files = {Path(code.co_filename).resolve() for code in seen if counts(code)}
    ours = [path.relative_to(ROOT) for path in files if path.is_relative_to(ROOT)]
    return sorted(str(path) for path in ours if path.parts[0] in ("physinv", "simulators"))


def measure() -> dict[str, list[str]]:
    """The files that run in each command, every command in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        run = [sys.executable, str(Path(__file__).resolve()), "--trace"]
        subprocess.run([*run, DATASET], cwd=folder, check=True, capture_output=True)
        for name, words in COMMANDS.items():
            done = subprocess.run([*run, words], cwd=folder, check=True, capture_output=True, text=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", metavar="WORDS", help=argparse.SUPPRESS)
    words = parser.parse_args().trace
    if words is not None:
        print(json.dumps(traced(words.split())))
        return
    for name, files in measure().items():
        folders = collections.Counter("/".join(path.split("/")[: 1 + path.startswith("physinv")]) for path in files)
        print(f"physinv {name}: {len(files)} files,", ", ".join(f"{n} of {folder}" for folder, n in folders.items()))
        print("\n".join(f"  {path}" for path in files))


if __name__ == "__main__":
    main()
