"""Mutations, a module for each kind of file; importing this package fills the registry of :mod:`tests.fuzz.attempt`."""

from tests.fuzz.mutations import (
    archives,
    arguments,
    arrays,
    damage,
    hdf5_links,
    hdf5_structure,
    hdf5_values,
    json_files,
    places,
    tables,
    tensors,
    toml_files,
)

__all__ = [
    "archives",
    "arguments",
    "arrays",
    "damage",
    "hdf5_links",
    "hdf5_structure",
    "hdf5_values",
    "json_files",
    "places",
    "tables",
    "tensors",
    "toml_files",
]
