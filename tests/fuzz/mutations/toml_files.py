"""TOML files: recipes of datasets and benchmarks, and settings of training."""

from __future__ import annotations

import random
import shutil
import tomllib
from collections.abc import Callable
from typing import Any

from tests.fuzz.attempt import ANY, KEPT, REFUSED, SAME, Attempt, Expected, InapplicableError, mutation

WORDS = (
    '""',
    '"x"',
    '"os:system"',
    '"../../etc/passwd"',
    '"\\u001b[31m"',
    "-1",
    "0",
    "1.5",
    "nan",
    "inf",
    "-inf",
    "true",
    "[]",
    "{}",
    "[1, [2]]",
    "{a = {b = 1}}",
    "1979-05-27",
    "07:32:00",
    "9223372036854775807",
    "-9223372036854775808",
    "1000000000000",
    "1e308",
    '"' + "y" * 20_000 + '"',
)


def _lines(attempt: Attempt) -> list[str]:
    return attempt.target.read_text("utf-8").splitlines()


def _write(attempt: Attempt, lines: list[str]) -> None:
    attempt.target.write_text("\n".join(lines) + "\n", "utf-8")


def _assignments(lines: list[str]) -> list[int]:
    found = [i for i, line in enumerate(lines) if "=" in line and not line.lstrip().startswith("#")]
    if not found:
        raise InapplicableError
    return found


@mutation("toml")
def value_replaced(attempt: Attempt) -> Expected:
    """A value that its key can't take, or another one."""
    lines = _lines(attempt)
    at = attempt.random.choice(_assignments(lines))
    key = lines[at].partition("=")[0].strip()
    word = attempt.random.choice(WORDS)
    lines[at] = f"{key} = {word}"
    _write(attempt, lines)
    whole_number = key in ("train", "valid", "test", "steps", "seed", "trajectories_per_shard", "width", "batch")
    wrong = whole_number and not word.lstrip("-").isdigit()
    return REFUSED if wrong or key == "simulator" else ANY


@mutation("toml")
def line_removed(attempt: Attempt) -> Expected:
    """A key or a table is not there."""
    lines = _lines(attempt)
    del lines[attempt.random.randrange(len(lines))]
    _write(attempt, lines)
    return ANY


@mutation("toml")
def unknown_key(attempt: Attempt) -> Expected:
    """A key that nobody knows."""
    lines = _lines(attempt)
    at = attempt.random.choice(_assignments(lines))
    key, _, value = lines[at].partition("=")
    lines[at] = f"{attempt.random.choice((key.strip() + 'x', '__class__', 'model_config', 'self', 'z.y.x'))} ={value}"
    _write(attempt, lines)
    return REFUSED


@mutation("toml")
def no_toml(attempt: Attempt) -> Expected:
    """Text that is no TOML, or TOML of a wrong shape."""
    wrong = ("[", "= 1", "a = ", "a = 1\na = 2", "[t]\n[t]", '"', "a.b = 1\na = 2", "\x00", "a = \x1b", "a = 1 b = 2")
    wrong += ("a = 0x", "a = '''", "<xml/>", '{"simulator": "heat"}', "x" * 300_000, "simulator", "[[simulator]]")
    attempt.target.write_text(attempt.random.choice(wrong), "utf-8")
    return REFUSED


@mutation("toml")
def deep(attempt: Attempt) -> Expected:
    """Values, keys or tables that are very deep."""
    n = attempt.random.choice((2_000, 50_000))
    deepest: tuple[Callable[[], str], ...] = (
        lambda: "a = " + "[" * n + "]" * n,
        lambda: "a = " + "{b = " * n + "1" + "}" * n,
        lambda: ".".join("a" * n) + " = 1",
        lambda: "[" + ".".join("a" * n) + "]",
        lambda: "a = " + "[" * n,
    )
    attempt.target.write_text(attempt.random.choice(deepest)() + "\n" + attempt.target.read_text("utf-8"), "utf-8")
    return REFUSED


@mutation("toml")
def huge_number(attempt: Attempt) -> Expected:
    """A number of thousands of digits."""
    lines = _lines(attempt)
    at = attempt.random.choice(_assignments(lines))
    lines[at] = f"{lines[at].partition('=')[0]}= {'9' * attempt.random.choice((30, 5000))}"
    _write(attempt, lines)
    return REFUSED


@mutation("toml")
def written_otherwise(attempt: Attempt) -> Expected:
    """The same values with comments, other ends of lines, other spaces."""
    lines = _lines(attempt)
    match attempt.random.randrange(3):
        case 0:
            attempt.target.write_bytes("\r\n".join([*lines, ""]).encode())
        case 1:
            _write(attempt, [f"{line}  # note" if line else line for line in lines])
        case _:
            _write(attempt, ["", *(line.replace(" = ", "  =  ") for line in lines), "", "# end"])
    return KEPT


@mutation("toml")
def marked(attempt: Attempt) -> Expected:
    """A mark of the encoding at the beginning."""
    attempt.target.write_bytes(b"\xef\xbb\xbf" + attempt.target.read_bytes())
    return SAME


def _twin(change: Callable[[dict[str, Any], random.Random], tuple[str, str, list[str]]]) -> Any:
    def act(attempt: Attempt) -> Expected:
        text = attempt.target.read_text("utf-8")
        old, new, words = change(tomllib.loads(text), attempt.random)
        if old not in text:
            raise InapplicableError
        attempt.target.write_text(text.replace(old, new), "utf-8")
        return Expected(refuse=False, twin=(*attempt.argv, *words))

    return act


@mutation("recipe")
def other_seed(attempt: Attempt) -> Expected:
    """Another seed: as if it had been given on the command line."""
    seed = attempt.random.randrange(1, 10**6)
    return _twin(lambda values, rng: ("seed = 0", f"seed = {seed}", ["--seed", str(seed)]))(attempt)


@mutation("recipe")
def other_parameter(attempt: Attempt) -> Expected:
    """Another parameter: as if it had been given on the command line."""
    value = attempt.random.choice(("0.25", "0.5", "1.5"))
    old, new = "temperature = 0.75", f"temperature = {value}"
    return _twin(lambda values, rng: (old, new, ["--set", f"temperature={value}"]))(attempt)


@mutation("settings")
def other_setting(attempt: Attempt) -> Expected:
    """Another setting: as if it had been given on the command line."""
    width = attempt.random.randrange(5, 9)
    return _twin(lambda values, rng: ("width = 4", f"width = {width}", ["--set", f"width={width}"]))(attempt)


@mutation("record")
def elsewhere(attempt: Attempt) -> Expected:
    """Numbers that lie outside of the folder of the record."""
    secret = attempt.outside / "secret.npy"
    shutil.copyfile(attempt.target.parent / "early.npy", secret)
    (attempt.target.parent / "link.npy").symlink_to(secret)
    places = (str(secret), "../../outside/secret.npy", "link.npy", "/etc/passwd", "../records/../../outside/secret.npy")
    text = attempt.target.read_text("utf-8")
    attempt.target.write_text(text.replace("early.npy", attempt.random.choice(places)), "utf-8")
    return REFUSED


@mutation("record")
def other_entry(attempt: Attempt) -> Expected:
    """A time, an operator or a noise that there is not."""
    wrong = (
        ("at = 0.25", ("at = -1.0", "at = nan", "at = []", "at = [0.25, inf]", "at = 1e308", 'at = "early"')),
        ("noise = 0.1", ("noise = 0", "noise = -1", "noise = inf", "noise = [0.1]", "noise = 1e-300")),
        ('observe = "everything"', ('observe = "sensors:0.5"', 'observe = "every:9"', 'observe = "os:system"')),
        ('data = "early.npy"', ('data = ""', 'data = "."', 'data = "no.npy"', 'data = "record.toml"')),
    )
    old, new = attempt.random.choice(wrong)
    text = attempt.target.read_text("utf-8")
    attempt.target.write_text(text.replace(old, attempt.random.choice(new)), "utf-8")
    return REFUSED
