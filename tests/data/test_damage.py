"""Whatever is wrong with a trajectory file is one line, at once, and no memory is taken for what it only declares."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from physinv.cli.info import describe_path
from physinv.data.dataset import TrajectoryDataset
from physinv.data.generate import generate
from physinv.data.inspect import inspect
from physinv.data.plan import DatasetPlan
from physinv.data.process import check_config_times, process_of
from physinv.data.resume import refuse_other_files
from physinv.data.writer import TrajectoryWriter
from physinv.processes.layout import VectorLayout
from physinv.runs.run import train_run
from physinv.training.budget import Budget
from simulators.vectors.double_well import DoubleWell

MANY = 10**12
MOST_MEMORY = 2**25  # bytes; a thousandth of what any of these files declares


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    return generate(DatasetPlan(DoubleWell(steps=4), {"train": 6, "valid": 3}), folder / "double-well")


@pytest.fixture
def path(dataset: Path, tmp_path: Path) -> Path:
    """A file that a test may damage."""
    copy = tmp_path / "x.hdf5"
    copy.write_bytes((dataset / "data" / "train" / "double-well_000.hdf5").read_bytes())
    return copy


def replaced(file: h5py.File, place: str, *shape: int, dtype: object = "f4", **how: object) -> None:
    del file[place]
    file.create_dataset(place, shape, dtype, **how)


def states(file: h5py.File, *shape: int, **how: object) -> None:
    replaced(file, "t0_fields/position", *shape, **{"chunks": (1, *shape[1:]), **how})


def declared(file: h5py.File) -> None:
    states(file, MANY, 5, 1)
    file.attrs["n_trajectories"] = MANY


def unwritten(file: h5py.File) -> None:
    states(file, 6, 5, 1)


def half_written(file: h5py.File) -> None:
    states(file, 6, 5, 1)
    file["t0_fields/position"][:3] = 1.0


def compound(file: h5py.File) -> None:
    states(file, 6, 5, 1, dtype=[("a", "f4"), ("b", "i4")], chunks=None)


def whole_numbers(file: h5py.File) -> None:
    del file["t0_fields/position"]
    file["t0_fields/position"] = np.zeros((6, 5, 1), dtype="i4")


def no_trajectories(file: h5py.File) -> None:
    states(file, 0, 5, 1, chunks=(1, 5, 1), maxshape=(None, 5, 1))
    file.attrs["n_trajectories"] = 0


def a_group(file: h5py.File) -> None:
    del file["t0_fields/position"]
    file.create_group("t0_fields/position")


def called_dot(file: h5py.File) -> None:
    file["t0_fields"].attrs["field_names"] = np.array(["."], dtype=h5py.string_dtype())


def called_by_a_path(file: h5py.File) -> None:
    file["t0_fields"].attrs["field_names"] = np.array(["../t0_fields/position"], dtype=h5py.string_dtype())


def dangling(file: h5py.File) -> None:
    del file["t0_fields/position"]
    file["t0_fields/position"] = h5py.SoftLink("/nope")


def in_a_circle(file: h5py.File) -> None:
    del file["t0_fields/position"]
    file["t0_fields/position"] = h5py.SoftLink("/t0_fields/position")


def own_in_a_circle(file: h5py.File) -> None:
    file.move("physinv", "other")
    file["physinv"] = h5py.SoftLink("/physinv")


def virtual(file: h5py.File) -> None:
    file.move("t0_fields/position", "source")
    layout = h5py.VirtualLayout((6, 5, 1), "f4")
    layout[:] = h5py.VirtualSource(".", "source", (6, 5, 1))
    file.create_virtual_dataset("t0_fields/position", layout)


def many_times(file: h5py.File) -> None:
    replaced(file, "physinv/times", MANY, dtype="f8", chunks=(1000,))


def many_positions(file: h5py.File) -> None:
    replaced(file, "physinv/positions_coordinate", MANY, dtype="f8", chunks=(1000,))


def times_as_text(file: h5py.File) -> None:
    replaced(file, "physinv/times", 5, dtype="S8")


def times_shifted(file: h5py.File) -> None:
    file["physinv/times"][...] = file["physinv/times"][...] + 0.1


def times_stretched_inside(file: h5py.File) -> None:
    file["physinv/times"][2] *= 1.01


def no_times(file: h5py.File) -> None:
    del file["physinv/times"]


def other_kind(file: h5py.File) -> None:
    file["physinv"].attrs["kind"] = "particles"


def version_as_text(file: h5py.File) -> None:
    file["physinv"].attrs["schema_version"] = "one"


def several_versions(file: h5py.File) -> None:
    file["physinv"].attrs["schema_version"] = np.array([1, 1])


def no_parameters(file: h5py.File) -> None:
    file.attrs["simulation_parameters"] = h5py.Empty("f4")


def many_axes(file: h5py.File) -> None:
    file["dimensions"].attrs["spatial_dims"] = np.array(["nope"], dtype=h5py.string_dtype())


CASES: list[tuple[Callable[[h5py.File], None], str]] = [
    (declared, r"`t0_fields/position` of .* has parts that were never written"),
    (unwritten, r"`t0_fields/position` of .* has parts that were never written"),
    (half_written, r"`t0_fields/position` of .* has parts that were never written"),
    (compound, r"`position` of .* must hold float32 numbers, got \[\('a'"),
    (whole_numbers, r"`position` of .* must hold float32 numbers, got int32"),
    (no_trajectories, r"x\.hdf5 holds no trajectories"),
    (a_group, r"`position` of .* must have shape \(6, 5, 1\), got None"),
    (called_dot, r"`\.` of .* must have shape \(6, 5, 1\), got None"),
    (called_by_a_path, r"`\.\./t0_fields/position` of .* must have shape \(6, 5, 1\), got None"),
    (dangling, "is not a whole trajectory file: .*component not found"),
    (in_a_circle, "is not a whole trajectory file: .*too many links"),
    (own_in_a_circle, "is not a whole trajectory file: .*too many links"),
    (virtual, "`position` of .* must hold float32 numbers, got a virtual dataset"),
    (many_times, "`physinv/times` of .* declares 1000000000000 numbers, 10000000 are the most"),
    (many_positions, "is not a whole trajectory file: 'dimensions and positions differ in length'"),
    (times_as_text, "`physinv/times` of .* must be one line of numbers"),
    (times_shifted, r"contradicts itself: it has 5 times from 0\.1 to 0\.6, the process .* 5 from 0 to 0\.5"),
    (times_stretched_inside, r"contradicts itself: it has 5 times from 0 to 0\.5, the process .* 5 from 0 to 0\.5"),
    (no_times, "is not a whole trajectory file: .*doesn't exist"),
    (other_kind, "a layout of kind 'particles' can't have the names"),
    (version_as_text, "has schema_version one, this version of physinv reads 1"),
    (several_versions, r"has schema_version \[1 1\], this version of physinv reads 1"),
    (no_parameters, "is not a whole trajectory file"),
    (many_axes, "is not a whole trajectory file"),
]


@pytest.mark.parametrize(("damage", "expected"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_damage_is_one_line(path: Path, damage: Callable[[h5py.File], None], expected: str) -> None:
    with h5py.File(path, "r+") as file:
        damage(file)
    before = path.read_bytes()
    tracemalloc.start()
    with pytest.raises(ValueError, match=expected) as caught:
        TrajectoryDataset(path)
    assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert describe_path(path)["problem"] == str(caught.value)
    assert path.read_bytes() == before


def config_of(path: Path, text: object) -> None:
    with h5py.File(path, "r+") as file:
        file["physinv"].attrs["config_json"] = text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", "the configuration of .* is damaged: it must be a JSON object, got a list"),
        ("null", "the configuration of .* is damaged: it must be a JSON object, got null"),
        ("{", "the configuration of .* is damaged: it is not valid JSON"),
        ("[" * 30_000, "the configuration of .* is damaged: it must have at most 64 levels"),
        (np.arange(3), "the configuration of .* is damaged: it must be JSON text, got ndarray"),
        (h5py.Empty("f4"), "the configuration of .* is damaged: it must be JSON text, got Empty"),
        ('{"seed": NaN}', "the configuration of .* is damaged: it holds a number that is not finite"),
        ('{"parameters": {}}', "the configuration of .* lacks `simulator`"),
        ('{"simulator": "heat"}', "the configuration of .* lacks `parameters`"),
        ('{"simulator": 7, "parameters": {}}', "`simulator` in the configuration of .* must be a text, got int 7"),
        (
            '{"simulator": "heat", "parameters": []}',
            r"`parameters` in the configuration .* by name, got list",
        ),
        ('{"units": "K"}', "`units` in the configuration of .* must be texts by name, got str 'K'"),
        ('{"origin": true}', "`origin` in the configuration of .* must be a number, got bool True"),
    ],
)
def test_configurations_of_any_other_shape_are_one_line(path: Path, text: object, expected: str) -> None:
    config_of(path, text)
    with pytest.raises(ValueError, match=expected) as caught:
        TrajectoryDataset(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert describe_path(path)["problem"] == str(caught.value)


def test_a_file_without_a_configuration_is_described_by_its_attributes(tmp_path: Path) -> None:
    path, times = tmp_path / "x.hdf5", torch.arange(5.0)
    writer = TrajectoryWriter(path, name="walk", layout=VectorLayout("x", 2), shape=(2,), times=times, count=3)
    with writer:
        writer.write(torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0)))
    told = describe_path(path)
    assert (told["whole"], told["simulator"], told["parameters"]) == (True, "walk", {})
    data = TrajectoryDataset(path)
    with pytest.raises(ValueError, match=r"x\.hdf5 does not say which process it is of .*; make it with"):
        process_of(data)
    with pytest.raises(ValueError, match=r"x\.hdf5 does not say which process it is of"):
        train_run(tmp_path / "run", data, data, method="linear", budget=Budget(steps=1))
    assert not (tmp_path / "run").exists()


def test_parameters_that_do_not_fit_are_named_where_the_process_is_needed(path: Path) -> None:
    with h5py.File(path) as file:
        config = json.loads(file["physinv"].attrs["config_json"])
    for parameters, expected in (
        ({**config["parameters"], "inmost": 2}, "DoubleWell has no parameter `inmost`"),
        ({**config["parameters"], "barrier": "high"}, "`barrier` of DoubleWell must be of type float"),
    ):
        config_of(path, json.dumps({**config, "parameters": parameters}))
        assert inspect(path).whole  # what is stored is right
        with pytest.raises(ValueError, match=expected):
            process_of(TrajectoryDataset(path))


def test_modules_that_files_name_are_not_imported_to_look_at_times(tmp_path: Path) -> None:
    check_config_times(tmp_path, [0.0, 7.0], {"simulator": "no_such_module:Process", "parameters": {}})
    check_config_times(tmp_path, [0.0, 7.0], {"simulator": "no-such-process", "parameters": {}})
    with pytest.raises(ValueError, match="contradicts itself"):
        check_config_times(tmp_path, [0.0, 7.0], {"simulator": "heat", "parameters": {"steps": 1, "horizon": 1}})


def test_sizes_of_recordings_are_compared_before_a_layout_is_made(tmp_path: Path) -> None:
    path, times = tmp_path / "x.hdf5", torch.arange(5.0)
    parameters = {"horizon": 4.0, "steps": 4, "sizes": [MANY], "names": ["x"]}
    layout = VectorLayout("x", 2)
    config = {"simulator": "recorded", "parameters": parameters}
    with TrajectoryWriter(path, name="recorded", layout=layout, shape=(2,), times=times, count=3, config=config) as out:
        out.write(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match=r"contradicts itself: its configuration has `sizes` \(1000000000000,\), its"):
        process_of(TrajectoryDataset(path))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"names": ["y"]}, r"contradicts itself: its configuration has `names` \('y',\), its states \('x',\)"),
        ({"positions": ["a", {}]}, "`parameters` in the configuration of .* make no process: "),
        ({"sizes": "many"}, "`sizes` of Recorded must be of type tuple"),
    ],
)
def test_other_contradictions_of_recordings(tmp_path: Path, changed: dict[str, object], expected: str) -> None:
    path, times, layout = tmp_path / "x.hdf5", torch.arange(5.0), VectorLayout("x", 2)
    parameters = {"horizon": 4.0, "steps": 4, "sizes": [2], "names": ["x"], "positions": [0.0, 1.0], **changed}
    config = {"simulator": "recorded", "parameters": parameters}
    with TrajectoryWriter(path, name="recorded", layout=layout, shape=(2,), times=times, count=3, config=config) as out:
        out.write(torch.zeros(3, 5, 2))
    with pytest.raises(ValueError, match=expected) as caught:
        process_of(TrajectoryDataset(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "null", '{"config": []}', '{"files": {}}', "[" * 10**5, '{"config": 3}'])
def test_lists_of_files_of_any_other_shape_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ValueError, match=r"dataset\.json is damaged: delete it to complete the data"):
        generate(DatasetPlan(DoubleWell(steps=4), {"train": 6}), tmp_path)


def test_files_to_go_on_with_are_looked_at(dataset: Path, tmp_path: Path) -> None:
    plan = DatasetPlan(DoubleWell(steps=4), {"train": 6, "valid": 3})
    (tmp_path / "train").mkdir()
    path = tmp_path / "train" / "double-well_000.hdf5"
    path.write_bytes((dataset / "data" / "train" / path.name).read_bytes())
    refuse_other_files(tmp_path, plan, tmp_path)
    with h5py.File(path, "r+") as file:
        times_shifted(file)
    with pytest.raises(ValueError, match="contradicts itself: it has 5 times"):
        refuse_other_files(tmp_path, plan, tmp_path)
