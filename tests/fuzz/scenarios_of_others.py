"""Files that others wrote, and hostile words for all verbs."""

from __future__ import annotations

from tests.fuzz import contents
from tests.fuzz.inputs import IMPORT
from tests.fuzz.scenario import FIT, HDF5, RECON, TRAIN, Content, Scenario, words_of


def sources() -> list[Scenario]:
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
        Scenario("look at s.nc", words_of("import s.nc --boundary periodic --dry-run"), HDF5, c.said, "s.nc", ("s.nc",))
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


def arguments() -> list[Scenario]:
    """All verbs, with hostile words."""
    c = contents
    table: list[tuple[str, tuple[str, ...], tuple[str, ...], Content, tuple[str, ...]]] = [
        (
            "generate",
            words_of("generate double-well --train 4 --valid 2 --test 2 --seed 1 --out out"),
            (),
            c.dataset,
            ("sets",),
        ),
        (
            "generate a field",
            words_of("generate heat --train 4 --valid 2 --test 2 --seed 1 --out out --set size=8 --set steps=2"),
            (),
            c.dataset,
            ("sets",),
        ),
        ("generate a recipe", words_of("generate recipe.toml --seed 3 --out out"), ("recipe.toml",), c.dataset, ()),
        ("import", ("import", "s.npy", *IMPORT, "--out", "out", "--seed", "1"), ("s.npy",), c.dataset, ()),
        (
            "import a recording",
            words_of("import s.csv --window 5 --stride 2 --every 1 --out out"),
            ("s.csv",),
            c.dataset,
            (),
        ),
        ("info", words_of("info vector --json"), ("vector",), c.printed, ()),
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
                *words_of("--observe everything --observed-noise 0.1"),
            ),
            ("vector", "run"),
            c.nothing,
            (),
        ),
        ("observe", ("reconstruct", "run", "--observation", "o.npy", *RECON), ("run", "o.npy"), c.reconstruction, ()),
        ("evaluate", words_of("evaluate r.hdf5 --json out.json"), ("r.hdf5",), c.table, ()),
        ("compare", words_of("compare r.hdf5 r2.hdf5 --seed 1 --json"), ("r.hdf5", "r2.hdf5"), c.printed, ()),
        ("benchmark compare", words_of("benchmark compare a b --json"), ("a", "b"), c.printed, ()),
        ("benchmark recipe", words_of("benchmark recipe kpz"), (), c.said, ()),
        ("simulators", words_of("simulators --json"), (), c.said, ()),
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
