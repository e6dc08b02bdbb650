"""Find the files of a dataset, and whether all of them are there."""

from __future__ import annotations

__all__ = ["check_listed", "check_origin", "find_files"]

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from physinv.config.files import MOST_TEXT, check_regular
from physinv.config.json_text import read_object

_OF_FILES = ("split", "shard")  # what files of one dataset differ in


def find_files(source: Path | str | Iterable[Path | str]) -> list[Path]:
    """List the files of trajectories that a source names.

    Args:
        source: A file, the folder of a split, whose files must be those that dataset.json lists, or several of both.

    Returns:
        The files, those of a folder in the order of their names.

    Raises:
        FileNotFoundError: If there is no such file or folder, it holds no trajectories, or files of it are missing.
        ValueError: If a file of a dataset has another size than it was made with.
    """
    if not isinstance(source, (str, Path)):
        named = [Path(p) for p in source]
        if not named:
            raise FileNotFoundError("`source` must name at least one file, got none.")
        return [file for path in named for file in (find_files(path) if path.is_dir() else [path])]
    path = Path(source)
    if path.is_file():
        return [path]
    check_regular(path)
    if not path.is_dir():
        inside = sorted(path.parent.parent.glob(f"*/data/{path.name}")) if path.parent.name == "data" else []
        hint = f"did you mean {inside[0].parent.parent}?" if inside else "make it with `physinv generate`."
        raise FileNotFoundError(f"there is no file or folder {path}; {hint}")
    if not (paths := sorted(path.glob("*.hdf5"))):
        inside = [path / "data" / split for split in ("test", "train") if (path / "data" / split).is_dir()]
        hint = f"did you mean {' or '.join(map(str, inside))}?" if inside else "make some with `physinv generate`."
        if (path / "run.json").is_file():
            hint = "it is a run, not data: give a split of a dataset, such as datasets/NAME/data/test."
        raise FileNotFoundError(f"{path} holds no .hdf5 files; {hint}")
    check_listed(path, paths)
    return paths


def check_listed(folder: Path, paths: Sequence[Path]) -> None:
    """Compare the files of a split with what the dataset.json of their dataset lists, if there is one.

    Args:
        folder: Folder of the split, ``<dataset>/data/<split>``; it need not exist.
        paths: The files in it.

    Raises:
        FileNotFoundError: If a listed file is missing.
        ValueError: If a file has another size, or dataset.json is damaged.
    """
    listing, part = folder.resolve().parent.parent / "dataset.json", f"data/{folder.resolve().name}/"
    if not listing.exists():
        return
    check_regular(listing, MOST_TEXT)
    listed = read_object(listing.read_bytes(), str(listing)).get("files")
    if not isinstance(listed, dict) or not all(isinstance(entry, dict) for entry in listed.values()):
        raise ValueError(f"{listing} is damaged: `files` must list the files of the dataset; put back a copy.")
    told = {n.removeprefix(part): v for n, v in listed.items() if n.startswith(part)}
    if missing := sorted(set(told) - {path.name for path in paths}):
        more = f" and {len(missing) - 1} more files" if len(missing) > 1 else ""
        raise FileNotFoundError(
            f"{folder} lacks {missing[0]}{more}, listed in {listing.name}; put it back, generate again, or give the "
            "files that are there one by one."
        )
    for path in paths:
        size = told.get(path.name, {}).get("bytes")
        if size is not None and path.stat().st_size != size:
            raise ValueError(
                f"{path} is not the file that {listing.name} lists ({path.stat().st_size} bytes for {size}); copy or "
                "generate it again, or give the files one by one."
            )


def check_origin(paths: Sequence[Path], configs: Sequence[Mapping[str, Any]]) -> None:
    """Compare what files say of themselves with the dataset that they lie in, if they lie in one.

    Args:
        paths: The files, of which those at ``<dataset>/data/<split>/NAME.hdf5`` count.
        configs: The configuration that each was made with.

    Raises:
        ValueError: If a file is of another split, or of another dataset.
    """
    known: dict[Path, Any] = {}
    places = [(path, folder, config) for path, config in zip(paths, configs, strict=True) for folder in _homes(path)]
    for path, folder, config in places:
        listing = folder.parent.parent / "dataset.json"
        if folder.parent.name != "data" or not listing.exists():
            continue
        if config.get("split", folder.name) != folder.name:
            raise ValueError(
                f"{path} is of the split `{config['split']}`, not `{folder.name}`; put back the file that belongs "
                "here, or give the files one by one elsewhere."
            )
        if listing not in known:
            check_regular(listing, MOST_TEXT)
            known[listing] = read_object(listing.read_bytes(), str(listing)).get("config")
        told = known[listing]
        if not isinstance(told, dict):
            continue
        other = next((k for k in config if k in told and k not in _OF_FILES and config[k] != told[k]), None)
        if other is not None:
            raise ValueError(
                f"{path} is of another dataset than {listing.name} beside it: their `{other}` differ; put back the "
                "file that belongs here, or generate it again."
            )


def _homes(path: Path) -> set[Path]:
    """The folder that a file is read from, and the one that it lies in, where links are between them."""
    return {path.absolute().parent, path.resolve().parent}
