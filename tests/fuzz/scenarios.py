"""Which verb reads which file, with which mutations, and what its content is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import contents
from tests.fuzz.inputs import IMPORT, SMALL

Content = Callable[[Path, str], Any]

HDF5 = ("bytes", "places", "hdf5", "hdf5-json")
OWN = (*HDF5, "trajectories")
JSON = ("bytes", "places", "json")
LINES = ("bytes", "places", "jsonl")
TENSORS = ("bytes", "places", "safetensors")
TOML = ("bytes", "places", "toml")


@dataclass(frozen=True)
class Scenario:
    """A command and the file that is mutated before it is given.

    Args:
        name: Its name in reports.
        argv: Words of the command; relative paths lie in the working folder.
        families: Families of mutations for the target.
        content: What its result is.
        target: The file, or folder, to mutate; empty where the words themselves are.
        needs: Inputs that are copied into the working folder.
        outputs: What it may write.
        sealed: Whether the target carries checksums, or is of a format that checks itself.
        weight: How often it is drawn; slow verbs less often.
        done: Exit codes of a command that did its work.
    """

    name: str
    argv: tuple[str, ...]
    families: tuple[str, ...]
    content: Content
    target: str = ""
    needs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("out", "out.hdf5", "out.json", "out.png")
    sealed: bool = False
    weight: float = 1.0
    done: tuple[int, ...] = (0,)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TRAIN = (*_words("--out out --steps 2"), *SMALL)
FIT = _words("--out out --method linear")
RECON = _words("--out out.hdf5 --samples 2 --limit 2")
RESUME = (*_words("--out out --resume --steps 3"), *SMALL)
SHARD = "data/train/double-well_000.hdf5"
OBSERVED = "data/test/double-well_000.hdf5"


def _trajectories() -> list[Scenario]:
    """Trajectory files, of this version and of earlier ones, read by all verbs that do."""
    c = contents
    found = []
    for kind, file in (("vector", "double-well"), ("field", "heat"), ("particles", "particles")):
        shard = f"{kind}/data/train/{file}_000.hdf5"
        found += [
            Scenario(f"info {kind} file", ("info", shard, "--json"), OWN, c.printed, shard, (kind,), sealed=True),
            Scenario(f"fit to {kind}", ("train", kind, *FIT), OWN, c.run, shard, (kind,), sealed=True),
            Scenario(
                f"info old {kind} file",
                ("info", f"old/{kind}.hdf5", "--json"),
                OWN,
                c.printed,
                f"old/{kind}.hdf5",
                ("old",),
            ),
        ]
    vector = ("vector",)
    own = f"vector/{OBSERVED}"
    found += [
        Scenario("info vector", ("info", "vector", "--json"), OWN, c.printed, f"vector/{SHARD}", vector, sealed=True),
        Scenario("train vector", ("train", "vector", *TRAIN), OWN, c.run, f"vector/{SHARD}", vector, sealed=True),
        Scenario(
            "train field",
            ("train", "field", *TRAIN),
            OWN,
            c.run,
            "field/data/train/heat_000.hdf5",
            ("field",),
            sealed=True,
            weight=0.5,
        ),
        Scenario(
            "reconstruct vector",
            ("reconstruct", "run", "--data", "vector/data/test", *RECON),
            OWN,
            c.reconstruction,
            own,
            ("vector", "run"),
            sealed=True,
        ),
        Scenario(
            "reconstruct old vector file",
            ("reconstruct", "run", "--data", "old/vector.hdf5", *RECON),
            OWN,
            c.nothing,
            "old/vector.hdf5",
            ("old", "run"),
        ),
        Scenario(
            "observe vector",
            ("reconstruct", "run", "--observation", own, *RECON),
            OWN,
            c.reconstruction,
            own,
            ("vector", "run"),
            sealed=True,
            weight=0.5,
        ),
        Scenario(
            "import old field file",
            ("import", "old/field.hdf5", "--out", "out"),
            HDF5,
            c.dataset,
            "old/field.hdf5",
            ("old",),
        ),
        Scenario(
            "import field file",
            ("import", "field/data/train/heat_000.hdf5", "--out", "out"),
            HDF5,
            c.dataset,
            "field/data/train/heat_000.hdf5",
            ("field",),
            sealed=True,
            weight=0.5,
        ),
        Scenario(
            "plot old vector file",
            ("info", "old/vector.hdf5", "--plot", "out.png"),
            OWN,
            c.nothing,
            "old/vector.hdf5",
            ("old",),
            weight=0.3,
        ),
    ]
    return found


def _datasets() -> list[Scenario]:
    """What lies beside trajectories."""
    c, vector = contents, ("vector",)
    own = "vector/dataset.json"
    again = ("generate", "vector/recipe.toml")
    data = ("vector",)
    found = [
        Scenario("info dataset.json", ("info", "vector", "--json"), JSON, c.printed, own, vector, sealed=True),
        Scenario("fit with dataset.json", ("train", "vector", *FIT), JSON, c.run, own, vector, sealed=True),
        Scenario(
            "generate again over dataset.json",
            again,
            JSON,
            c.nothing,
            own,
            vector,
            outputs=data,
            sealed=True,
        ),
        Scenario(
            "generate again over a shard",
            again,
            ("bytes", "places", "hdf5"),
            c.nothing,
            f"vector/{SHARD}",
            vector,
            outputs=data,
            sealed=True,
        ),
        Scenario(
            "generate from a recipe",
            ("generate", "recipe.toml", "--out", "out"),
            (*TOML, "recipe"),
            c.dataset,
            "recipe.toml",
            ("recipe.toml",),
            weight=1.5,
        ),
        Scenario(
            "train with settings",
            ("train", "vector", "--out", "out", "--method", "physinv", "--steps", "2", "--config", "settings.toml"),
            (*TOML, "settings"),
            c.run,
            "settings.toml",
            ("vector", "settings.toml"),
            weight=1.5,
        ),
        Scenario(
            "benchmark from a recipe",
            _words("benchmark benchmark.toml --out out --jobs 1"),
            TOML,
            c.nothing,
            "benchmark.toml",
            ("benchmark.toml",),
            weight=0.3,
        ),
    ]
    return found


def _runs() -> list[Scenario]:
    """Files of runs, of this version and of an earlier one."""
    c = contents
    found = []
    for run, sealed in (("run", True), ("old-run", False), ("learned", True), ("field-run", True)):
        recon = ("reconstruct", run, "--data", "vector/data/test", *RECON)
        needs: tuple[str, ...] = (run, "vector")
        if run == "learned":
            recon, needs = ("reconstruct", run, "--data", "imported/data/test", *RECON), (run, "imported")
        if run == "field-run":
            recon, needs = ("reconstruct", run, "--data", "field/data/test", *RECON), (run, "field")
        if run == "old-run":
            recon, needs = ("reconstruct", run, "--data", "old/vector.hdf5", *RECON), (run, "old")
        info = ("info", run, "--json")
        more = ("run-json",)
        found += [
            Scenario(f"info {run}/run.json", info, (*JSON, *more), c.printed, f"{run}/run.json", (run,), sealed=sealed),
            Scenario(
                f"reconstruct {run}/run.json",
                recon,
                (*JSON, *more),
                c.reconstruction,
                f"{run}/run.json",
                needs,
                sealed=sealed,
            ),
            Scenario(
                f"reconstruct {run}/model",
                recon,
                TENSORS,
                c.reconstruction,
                f"{run}/model.safetensors",
                needs,
                sealed=sealed,
            ),
        ]
    own = ("run", "vector")
    compared = ("compare", "run", "run2", "--data", "vector/data/test", "--samples", "2", "--json")
    found += [
        Scenario(
            "info run/log", ("info", "run", "--json"), LINES, c.printed, "run/score/log.jsonl", ("run",), sealed=True
        ),
        Scenario(
            "info old-run/log", ("info", "old-run", "--json"), LINES, c.printed, "old-run/log.jsonl", ("old-run",)
        ),
        Scenario(
            "info run/model",
            ("info", "run", "--json"),
            TENSORS,
            c.printed,
            "run/model.safetensors",
            ("run",),
            sealed=True,
        ),
        Scenario(
            "reconstruct run/summary",
            ("reconstruct", "run", "--data", "vector/data/test", *RECON),
            TENSORS,
            c.reconstruction,
            "run/summary.safetensors",
            own,
            sealed=True,
        ),
    ]
    for file, families in (
        ("run.json", JSON),
        ("score/checkpoint.safetensors", TENSORS),
        ("jumps/checkpoint.safetensors", TENSORS),
        ("score/log.jsonl", LINES),
        ("model.safetensors", TENSORS),
    ):
        found.append(
            Scenario(
                f"resume over {file}",
                ("train", "vector", *RESUME),
                families,
                c.run,
                f"out/{file}",
                ("vector", "run>out"),
                sealed=True,
            )
        )
    found.append(
        Scenario(
            "resume learned physics",
            ("train", "imported", *RESUME, "--method", "physinv", "--set", "physics=learned", "--steps", "5"),
            TENSORS,
            c.run,
            "out/score/physics.safetensors",
            ("imported", "learned>out"),
            sealed=True,
            weight=0.5,
        )
    )
    found.append(
        Scenario("compare runs", compared, JSON, c.printed, "run2/run.json", ("vector", "run", "run>run2"), sealed=True)
    )
    return found


def _reconstructions() -> list[Scenario]:
    """Reconstructions, of this version and of an earlier one."""
    c = contents
    evaluate = ("--json", "out.json")
    found = []
    for name, sealed in (("r.hdf5", True), ("rf.hdf5", True), ("ro.hdf5", True), ("old.hdf5", False)):
        found += [
            Scenario(f"info {name}", ("info", name, "--json"), HDF5, c.printed, name, (name,), sealed=sealed),
            Scenario(f"evaluate {name}", ("evaluate", name, *evaluate), HDF5, c.table, name, (name,), sealed=sealed),
        ]
    found += [
        Scenario(
            "compare reconstructions",
            ("compare", "r.hdf5", "r2.hdf5", "--json"),
            HDF5,
            c.printed,
            "r2.hdf5",
            ("r.hdf5", "r2.hdf5"),
            sealed=True,
        ),
        Scenario(
            "plot old.hdf5",
            ("info", "old.hdf5", "--plot", "out.png"),
            HDF5,
            c.nothing,
            "old.hdf5",
            ("old.hdf5",),
            weight=0.3,
        ),
    ]
    return found


def _benchmarks() -> list[Scenario]:
    """Results of benchmarks."""
    c = contents
    ab = ("a", "b")
    example = "a/examples/physinv.npz"
    made = ("a/report.html", "a/table.md", "a/figures", "a/reconstruction.gif")
    compare = _words("benchmark compare a b --json")
    return [
        Scenario("compare results", compare, LINES, c.printed, "b/cells.jsonl", ab, sealed=True, weight=2, done=(0, 1)),
        Scenario(
            "report results",
            _words("benchmark report a --json"),
            LINES,
            c.printed,
            "a/cells.jsonl",
            ("a",),
            outputs=made,
            weight=0.3,
            sealed=True,
        ),
        Scenario(
            "report examples",
            _words("benchmark report a --json"),
            ("bytes", "places", "npz"),
            c.printed,
            example,
            ("a",),
            outputs=made,
            weight=0.2,
            sealed=True,
        ),
    ]


def _sources() -> list[Scenario]:
    """Files that others wrote: to import, and as observations."""
    c = contents
    arrays = ("bytes", "places")
    named = ("--variable", "u", *IMPORT)
    table: list[tuple[str, tuple[str, ...], tuple[str, ...], bool]] = [
        ("s.npy", tuple(IMPORT), (*arrays, "npy"), False),
        ("s.npz", named, (*arrays, "npz"), True),
        ("s.mat", named, (*arrays, "mat"), False),
        ("s.pt", named, (*arrays, "torch"), True),
        ("s.nc", ("--boundary", "periodic"), (*HDF5, "hdf5-foreign"), False),
        ("s3.nc", ("--boundary", "periodic"), (*arrays, "netcdf3"), False),
        ("s.hdf5", ("--boundary", "periodic"), (*HDF5, "hdf5-foreign"), False),
        ("s.zarr", ("--boundary", "periodic"), ("places", "zarr"), False),
        ("s.csv", ("--window", "5"), (*arrays, "csv"), False),
    ]
    found = []
    for name, words, families, sealed in table:
        argv = ("import", name, *words, "--out", "out")
        found.append(Scenario(f"import {name}", argv, families, c.dataset, name, (name,), sealed=sealed))
    found.append(
        Scenario("look at s.nc", _words("import s.nc --boundary periodic --dry-run"), HDF5, c.said, "s.nc", ("s.nc",))
    )
    for name, families in (
        ("o.npy", (*arrays, "npy")),
        ("o.npz", arrays),
        ("o.mat", (*arrays, "mat")),
        ("o.pt", arrays),
        ("o.csv", (*arrays, "csv")),
        ("o.hdf5", HDF5),
    ):
        argv = ("reconstruct", "run", "--observation", name, *RECON)
        needs = ("run", name)
        found.append(Scenario(f"observe {name}", argv, families, c.reconstruction, name, needs, weight=0.5))
    return found


def _arguments() -> list[Scenario]:
    """All verbs, with hostile words."""
    c = contents
    table: list[tuple[str, tuple[str, ...], tuple[str, ...], Content, tuple[str, ...]]] = [
        (
            "generate",
            _words("generate double-well --train 4 --valid 2 --test 2 --seed 1 --out out"),
            (),
            c.dataset,
            ("sets",),
        ),
        (
            "generate a field",
            _words("generate heat --train 4 --valid 2 --test 2 --seed 1 --out out --set size=8 --set steps=2"),
            (),
            c.dataset,
            ("sets",),
        ),
        ("generate a recipe", _words("generate recipe.toml --seed 3 --out out"), ("recipe.toml",), c.dataset, ()),
        ("import", ("import", "s.npy", *IMPORT, "--out", "out", "--seed", "1"), ("s.npy",), c.dataset, ()),
        (
            "import a recording",
            _words("import s.csv --window 5 --stride 2 --every 1 --out out"),
            ("s.csv",),
            c.dataset,
            (),
        ),
        ("info", _words("info vector --json"), ("vector",), c.printed, ()),
        ("train", ("train", "vector", *TRAIN, "--seed", "1"), ("vector",), c.run, ("sets",)),
        ("fit", ("train", "vector", *FIT), ("vector",), c.run, ()),
        (
            "reconstruct",
            ("reconstruct", "run", "--data", "vector/data/test", *RECON, "--seed", "1"),
            ("vector", "run"),
            c.reconstruction,
            (),
        ),
        (
            "reconstruct in part",
            (
                "reconstruct",
                "run",
                "--data",
                "vector/data/test",
                *RECON,
                *_words("--observe everything --observed-noise 0.1"),
            ),
            ("vector", "run"),
            c.nothing,
            (),
        ),
        ("observe", ("reconstruct", "run", "--observation", "o.npy", *RECON), ("run", "o.npy"), c.reconstruction, ()),
        ("evaluate", _words("evaluate r.hdf5 --json out.json"), ("r.hdf5",), c.table, ()),
        ("compare", _words("compare r.hdf5 r2.hdf5 --seed 1 --json"), ("r.hdf5", "r2.hdf5"), c.printed, ()),
        ("benchmark compare", _words("benchmark compare a b --json"), ("a", "b"), c.printed, ()),
        ("benchmark recipe", _words("benchmark recipe kpz"), (), c.said, ()),
        ("simulators", _words("simulators --json"), (), c.said, ()),
    ]
    return [
        Scenario(
            f"words of {name}",
            argv,
            ("arguments", *more),
            content,
            needs=needs,
            weight=2,
            done=(0, 1) if name == "benchmark compare" else (0,),
        )
        for name, argv, needs, content, more in table
    ]


def scenarios() -> list[Scenario]:
    """All scenarios."""
    groups = (_trajectories, _datasets, _runs, _reconstructions, _benchmarks, _sources, _arguments)
    return [one for group in groups for one in group()]
