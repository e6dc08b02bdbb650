"""The library that lets file-system calls fail: calls.c, compiled where it is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("calls.c")
COMPILERS = ("cc", "gcc", "clang")


def compiler() -> str | None:
    """The C compiler of this machine, if it has one."""
    return next((found for name in COMPILERS if (found := shutil.which(name))), None)


def build(folder: Path) -> Path:
    """Compile the library into a folder; RuntimeError where there is no compiler."""
    found = compiler()
    if found is None:
        raise RuntimeError(f"faults need a C compiler ({', '.join(COMPILERS)}); install one.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "calls.so"
    subprocess.run([found, "-O1", "-shared", "-fPIC", "-o", path, SOURCE, "-ldl"], check=True)
    return path
