"""Hostile words on the command line: values of options, ``--set``, names, and places to write to."""

from __future__ import annotations

import os

from tests.fuzz.attempt import ANY, REFUSED, SAME, Attempt, Expected, InapplicableError, mutation

TEXTS = ("", " ", "x", "\x1b[31mred", "y" * 5000, "a\nb", "é" * 99, "os:system", "json:loads", "-", "=", "{}")
NUMBERS = ("nan", "inf", "-inf", "1e999", "9" * 400, "1.5", "0x10", "1_000", " 1", "--1", "1,5", "٣")
SIZES = ("1000000000", "99999999999999", "9223372036854775807")
COUNTS = (
    "--train",
    "--samples",
    "--steps",
    "--limit",
    "--refine",
    "--window",
    "--stride",
    "--every",
    "--seed",
    "--jobs",
    "--draws",
    "--runs",
)
PLACES = ("pipe", "/proc/x", ".", "", "n" * 300, "no/such/folder/x", "p/" * 3000, "\x1b[2J", "link/x", "loop")

SETS = {
    "generate": (
        "steps=1000000000",
        "steps=-1",
        "steps=0",
        "steps=1.5",
        "steps=true",
        "dimension=100000000",
        "temperature=nan",
        "temperature=inf",
        "temperature=-1",
        "temperature=1e308",
        "temperature=[1]",
        "temperature={}",
        "barrier=1e300",
        "stiffness=x",
        "horizon=0",
        "horizon=-1",
        "horizon=1e30",
        "inner=1000000000",
        "inner=0",
    ),
    "generate-field": (
        "size=1000000000",
        "size=100000",
        "size=0",
        "size=-8",
        "size=7.5",
        "prior=nothing",
        "prior=3",
        "diffusivity=-1",
        "diffusivity=nan",
        "noise=inf",
        "noise=-1",
        "steps=99999999999",
        "boundary=[1,2]",
    ),
    "train": (
        "width=1000000000",
        "width=-1",
        "width=1e-3",
        "depth=100000000",
        "components=0",
        "windows=[1]",
        "windows=[1000000]",
        "windows=2",
        "windows=[2,nan]",
        "batch=1000000000000",
        "rate=nan",
        "rate=inf",
        "rate=-1",
        "clip=0",
        "ema=1",
        "ema=nan",
        "weight_decay=inf",
        "validate_every=0",
        "validate_windows=-1",
        "loss=nothing",
        "loss=os:system",
        "loss=json:loads",
        "network=nothing",
        "network=json:JSONDecoder",
        "reference=nothing",
        "reference=os:system",
        "physics=other",
        "optimiser=sgd",
        "fresh=maybe",
        "memory=0",
        "memory=nan",
        "workers=-1",
        "workers=100000",
    ),
}
SETS["reconstruct"] = tuple(word for word in SETS["generate"] if not word.startswith("inner"))
SETS["free-energy"] = SETS["generate"]
VALUES = {
    "--hide": ("every:0", "every:1", "every:2.5", "every:1e400", "after:nan", "after:-1", "after:9", "entries:0"),
    "--at": ("nan", "-1", "9", "0.25,", "0.25,x", "0.3", "1e999", "0.25;0.5", "0.1:0.5"),
    "--frames": ("nan", "-1", "x", "all,all", "0.25,,0.5", "inf"),
    "--observe": ("sensors:0", "sensors:2", "sensors:nan", "every:0", "coarse:-2", "low-pass:x", "random:1-0.5"),
    "--observed-noise": ("nan", "-1", "inf", "1e-300", "1e300", "0.2-0.1", "x-y", "-"),
    "--vary": (
        "barrier=1",
        "barrier=1:nan",
        "barrier=1:2:3",
        "=1:2",
        "x=1:2",
        "barrier=0:1",
        "steps=1:2",
        "barrier=-1:2",
    ),
    "--duration": ("nan", "inf", "-1", "0"),
}
COMMON_SETS = ("", "=", "=1", "x", "x=1", "a.b.c=1", "__class__=1", "\x1b[31m=1", "z" * 5000 + "=1", "ä=1", "x\n=1")


@mutation("arguments")
def word_instead(attempt: Attempt) -> Expected:
    """A value of an option that it can't take."""
    at = _value(attempt)
    attempt.argv[at] = attempt.random.choice((*TEXTS, *NUMBERS))
    return _of_value(attempt, at)


@mutation("arguments")
def size_instead(attempt: Attempt) -> Expected:
    """A number of things that no machine has room or time for."""
    places = [i + 1 for i, word in enumerate(attempt.argv[:-1]) if word in COUNTS and word not in ("--seed", "--limit")]
    if not places:
        raise InapplicableError
    at = attempt.random.choice(places)
    if attempt.argv[0] == "train" and attempt.argv[at - 1] == "--steps":  # takes as long as was asked for, and no room
        raise InapplicableError
    attempt.argv[at] = attempt.random.choice(SIZES)
    return ANY if attempt.argv[at - 1] == "--jobs" else REFUSED


@mutation("arguments")
def negative_instead(attempt: Attempt) -> Expected:
    """A number of things below the smallest."""
    places = [i + 1 for i, word in enumerate(attempt.argv[:-1]) if word in COUNTS]
    if not places:
        raise InapplicableError
    attempt.argv[attempt.random.choice(places)] = attempt.random.choice(("-1", "-9223372036854775809", "-0.5"))
    return REFUSED


@mutation("arguments")
def unknown_option(attempt: Attempt) -> Expected:
    """An option or a word too many."""
    words = ("--nothing", "--set", "-x", "--\x1b[2J", "--out=", "extra", "--seed", "--json=1", "---", "--" + "o" * 4000)
    attempt.argv.insert(attempt.random.randrange(1, len(attempt.argv) + 1), attempt.random.choice(words))
    return ANY


@mutation("arguments")
def word_missing(attempt: Attempt) -> Expected:
    """A word is not there."""
    del attempt.argv[attempt.random.randrange(len(attempt.argv))]
    return ANY


@mutation("arguments")
def option_twice(attempt: Attempt) -> Expected:
    """An option is given twice."""
    found = [i for i, word in enumerate(attempt.argv[:-1]) if word.startswith("--")]
    if not found:
        raise InapplicableError
    at = attempt.random.choice(found)
    attempt.argv += attempt.argv[at : at + 2]
    return ANY


@mutation("arguments")
def place_instead(attempt: Attempt) -> Expected:
    """A place to write to that is none."""
    at = _after(attempt, ("--out", "--json", "--plots", "--plot"))
    attempt.argv[at] = attempt.random.choice(PLACES)
    os.mkfifo(attempt.work / "pipe")
    (attempt.work / "loop").symlink_to("loop")
    (attempt.work / "link").symlink_to("not-there")
    return ANY


@mutation("arguments")
def input_instead(attempt: Attempt) -> Expected:
    """A file to read that is a device, a folder, or of another kind."""
    found = [i for i, word in enumerate(attempt.argv) if i and (attempt.work / word).exists() and word]
    found = [i for i in found if attempt.argv[i - 1] not in ("--out", "--json", "--plots")]
    if not found:
        raise InapplicableError
    places = (
        "/dev/null",
        "/dev/zero",
        "/proc/self/mem",
        "/etc/hostname",
        ".",
        "/",
        "",
        "n" * 5000,
        "~",
        "*",
        "\x1b[2J",
    )
    word = attempt.random.choice(found)
    attempt.argv[word] = attempt.random.choice(places)
    whole = attempt.argv[0] == "import" and attempt.argv[word] == "."  # the files of a folder are read one by one
    return SAME if whole else REFUSED


@mutation("arguments")
def output_over_an_input(attempt: Attempt) -> Expected:
    """The output is what is read, or holds it."""
    at = _after(attempt, ("--out", "--json", "--plots", "--plot"))
    inputs = [w for i, w in enumerate(attempt.argv) if i not in (0, at) and w and (attempt.work / w).exists()]
    if not inputs:
        raise InapplicableError
    chosen = attempt.random.choice(inputs)
    attempt.argv[at] = attempt.random.choice((chosen, f"./{chosen}", f"x/../{chosen}"))
    if attempt.argv[at - 1] == "--out" and "--overwrite" not in attempt.argv:
        attempt.argv.append("--overwrite")
    return REFUSED


@mutation("sets")
def set_value(attempt: Attempt) -> Expected:
    """A value that a setting or a parameter can't take."""
    kind = attempt.argv[0]
    if kind == "generate" and "heat" in attempt.argv:
        kind = "generate-field"
    attempt.argv += ["--set", attempt.random.choice(SETS[kind])]
    return REFUSED


@mutation("sets")
def set_word(attempt: Attempt) -> Expected:
    """A word that is no assignment of a key that there is."""
    attempt.argv += ["--set", attempt.random.choice(COMMON_SETS)]
    return REFUSED


@mutation("sets")
def set_deep(attempt: Attempt) -> Expected:
    """A value that is very deep or very long."""
    values = ("[" * 50_000, "[" * 900 + "]" * 900, "{a=" * 3000 + "1" + "}" * 3000, "9" * 5000, "y" * 90_000)
    attempt.argv += ["--set", f"{attempt.random.choice(('steps', 'width', 'x'))}={attempt.random.choice(values)}"]
    return REFUSED


@mutation("values")
def value_out_of_range(attempt: Attempt) -> Expected:
    """A value of the right kind that means nothing."""
    found = [i for i, word in enumerate(attempt.argv[:-1]) if word in VALUES]
    if not found:
        raise InapplicableError
    at = attempt.random.choice(found)
    attempt.argv[at + 1] = attempt.random.choice(VALUES[attempt.argv[at]])
    return REFUSED


def _value(attempt: Attempt) -> int:
    """The place of a value of an option."""
    found = [
        i + 1
        for i, w in enumerate(attempt.argv[:-1])
        if w.startswith("--") and not attempt.argv[i + 1].startswith("--")
    ]
    if not found:
        raise InapplicableError
    return attempt.random.choice(found)


def _after(attempt: Attempt, options: tuple[str, ...]) -> int:
    found = [i + 1 for i, word in enumerate(attempt.argv[:-1]) if word in options]
    if not found:
        raise InapplicableError
    return attempt.random.choice(found)


def _of_value(attempt: Attempt, at: int) -> Expected:
    """What an odd value of an option must give: numbers may be written oddly, names of files may be anything."""
    if attempt.argv[at - 1] in ("--out", "--json", "--plots", "--names", "--set", "--option"):
        return ANY
    if attempt.argv[at] in ("1_000", " 1", "٣", "9" * 400, "1.5", "") or attempt.argv[at - 1] in ("--times", "--dims"):
        return ANY
    return REFUSED if attempt.argv[at - 1] in COUNTS else ANY
