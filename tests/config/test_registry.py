"""Parts are found by every kind of name, and named so that they are found again."""

import math
import os
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from physinv.config import registry
from physinv.config.registry import Registry, entries_of, import_object

GROUP = "physinv.test_shapes"


@pytest.fixture
def shapes(monkeypatch):
    """Functions: one of our own, one of an installed package, and one that can't be imported."""
    entries = [EntryPoint("lower", "math:floor", GROUP), EntryPoint("gone", "no.such.module:x", GROUP)]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: EntryPoints(entries if group == GROUP else []))
    return Registry("shape", GROUP, callable, "a function", {"upper": "math:ceil"})


def test_parts_are_found_by_name(shapes):
    assert shapes.names() == ["gone", "lower", "upper"]
    assert shapes.find("upper") is math.ceil
    assert shapes.find("lower") is math.floor
    assert shapes.find("math:sqrt") is math.sqrt
    assert shapes.register("mine", len) is len
    assert shapes.find("mine") is len
    assert shapes.register("mine", len) is len
    with pytest.raises(ValueError, match=r"^there is a shape `mine` already; take another name\.$"):
        shapes.register("mine", max)


def test_a_name_that_two_packages_declare_is_nobodys(monkeypatch):
    entries = [EntryPoint("round", place, GROUP) for place in ("math:floor", "math:ceil", "math:floor")]
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: EntryPoints(entries if group == GROUP else []))
    shapes = Registry("shape", GROUP, callable, "a function")
    with pytest.raises(ValueError, match=r"^shape `round` is declared by .*math:floor.* and .*math:ceil.*; uninstall"):
        shapes.find("round")
    assert shapes.find("math:floor") is math.floor
    entries[:] = entries[::2]  # the same part twice, as of a package that is found in two places
    registry.entries_of.__globals__["_read"].cache_clear()
    assert shapes.find("round") is math.floor


def test_parts_are_named_so_that_they_are_found_again(shapes):
    shapes.register("mine", len)
    assert [shapes.name_of(part) for part in (len, math.ceil, math.floor)] == ["mine", "upper", "lower"]
    assert shapes.name_of(math.sqrt) == "math:sqrt"
    assert shapes.find(shapes.name_of(math.sqrt)) is math.sqrt


def test_entry_points_are_read_again_only_after_an_installation(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    os.utime(tmp_path, (0, 0))
    read = []
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: read.append(group) or EntryPoints([]))
    for _ in range(3):
        assert list(entries_of(GROUP)) == []
    assert read == [GROUP]
    (tmp_path / "new-1.0.dist-info").mkdir()
    entries_of(GROUP)
    assert read == [GROUP, GROUP]


def test_what_is_not_found_is_named(shapes):
    with pytest.raises(ValueError, match=r"^there is no shape `uper`; did you mean `upper`\?$"):
        shapes.find("uper")
    with pytest.raises(
        ValueError, match=r"^shape `no\.such\.module:x` can't be imported: No module named .*; run where"
    ):
        shapes.find("gone")
    with pytest.raises(ValueError, match=r"^shape `math:pi` must be a function, got 3\.14"):
        shapes.find("math:pi")
    with pytest.raises(ValueError, match="none is registered"):
        Registry("shape", "physinv.no_group", callable, "a function").find("x")
    with pytest.raises(ValueError, match=r"`math:` must have the form module:name"):
        import_object("math:", "shape")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('no\\nlicence')\n", "RuntimeError: no licence"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("raise MemoryError\n", "MemoryError."),
    ],
    ids=["syntax", "error", "exit", "memory"],
)
def test_a_broken_module_is_left_out_and_told_in_one_line(text, told, shapes, tmp_path, monkeypatch):
    module = f"broken_{len(text)}"
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    mine = Registry("shape", GROUP, callable, "a function", {"upper": "math:ceil", "broken": f"{module}:shape"})
    with pytest.raises(ValueError, match=f"^shape `{module}:shape` can't be imported, its module ends with") as found:
        mine.find("broken")
    assert told in str(found.value)
    assert "\n" not in str(found.value)
    working, broken = mine.working()
    assert working == {"lower": math.floor, "upper": math.ceil}
    assert [line.partition(":")[0] for line in broken] == ["`broken` is left out", "`gone` is left out"]


def test_modules_of_the_working_directory_are_found(shapes, tmp_path, monkeypatch):
    (tmp_path / "shapes_of_mine.py").write_text("class Outer:\n    def double(x):\n        return 2 * x\n")
    monkeypatch.chdir(tmp_path)
    assert shapes.find("shapes_of_mine:Outer.double")(3) == 6
    for name, hint in (("Outre", r"did you mean `Outer`\?"), ("square", r"it has Outer\.")):
        told = f"`shapes_of_mine:{name}` can't be imported: .*has no attribute '{name}'; {hint}$"
        with pytest.raises(ValueError, match=told):
            shapes.find(f"shapes_of_mine:{name}")
