"""JSON files, lines of JSON, and JSON in attributes and datasets of HDF5, of any shape but the right one."""

from __future__ import annotations

import json

import h5py

from tests.fuzz.attempt import ANY, REFUSED, SAME, Act, Attempt, Expected, InapplicableError, enlist, mutation
from tests.fuzz.mutations.json_texts import OTHER, WRONG, Change

PLACES = ("config_json", "versions_json", "info_json")


def _of_file(change: Change, wrong: bool) -> Act:
    def act(attempt: Attempt) -> Expected:
        text = attempt.target.read_text("utf-8")
        attempt.target.write_text(change(text, attempt.random), "utf-8", "surrogatepass")
        return SAME if wrong else attempt.changed

    return act


def _of_line(change: Change, wrong: bool) -> Act:
    def act(attempt: Attempt) -> Expected:
        lines = attempt.target.read_text("utf-8").splitlines()
        at = attempt.random.randrange(len(lines))
        lines[at] = change(lines[at], attempt.random)
        attempt.target.write_text("\n".join(lines) + "\n", "utf-8", "surrogatepass")
        return ANY if wrong else attempt.changed  # a line cut short by a kill is passed over

    return act


def _in_hdf5(change: Change, wrong: bool) -> Act:
    def act(attempt: Attempt) -> Expected:
        with h5py.File(attempt.target, "r+") as file:
            at = file["physinv"].attrs if "physinv" in file else file
            places = [name for name in PLACES if name in at]
            if not places:
                raise InapplicableError
            name = attempt.random.choice(places)
            text = at[name] if isinstance(at[name], str) else at[name][()].decode()
            new = change(text, attempt.random)
            if "\x00" in new or any("\ud800" <= c <= "\udfff" for c in new):
                raise InapplicableError
            del at[name]
            if at is file:
                at.create_dataset(name, data=new, dtype=h5py.string_dtype())
            elif len(new) < 60_000:
                at[name] = new
            else:
                raise InapplicableError
        return SAME if wrong or name == "versions_json" else attempt.changed

    return act


for kind, make in (("json", _of_file), ("jsonl", _of_line), ("hdf5-json", _in_hdf5)):
    for names, is_wrong in ((OTHER, False), (WRONG, True)):
        for label, one in names.items():
            enlist(kind, label, make(one, is_wrong))


@mutation("json", "jsonl", "toml", "csv")
def encoded_otherwise(attempt: Attempt) -> Expected:
    """The text in another encoding."""
    text = attempt.target.read_text("utf-8")
    attempt.target.write_bytes(text.encode(attempt.random.choice(("utf-16", "utf-32-le", "utf-7"))))
    return ANY if attempt.target.suffix == ".csv" else SAME


@mutation("json", "jsonl", "toml", "csv")
def stray_byte(attempt: Attempt) -> Expected:
    """A byte that is no UTF-8."""
    data = attempt.target.read_bytes()
    at = attempt.random.randrange(len(data))
    attempt.target.write_bytes(data[:at] + attempt.random.choice((b"\xff", b"\x00", b"\xc3", b"\x1b")) + data[at:])
    return attempt.changed


@mutation("json")
def written_otherwise(attempt: Attempt) -> Expected:
    """The same content with other spaces and another order."""
    document = json.loads(attempt.target.read_text("utf-8"))
    indent = attempt.random.choice((None, 4, "\t"))
    attempt.target.write_text(json.dumps(document, indent=indent, sort_keys=True), "utf-8")
    return SAME


@mutation("jsonl")
def lines_moved(attempt: Attempt) -> Expected:
    """Lines in another order, twice, or missing."""
    lines = attempt.target.read_text("utf-8").splitlines(keepends=True)
    at = attempt.random.randrange(len(lines))
    match attempt.random.randrange(4):
        case 0:
            lines = lines[::-1]
        case 1:
            lines.insert(0, lines[at])
        case 2:
            del lines[at]
        case _:
            lines = ["\n", *lines, " \n", "\n"]
    attempt.target.write_text("".join(lines), "utf-8")
    return ANY


@mutation("run-json")
def times_that_cannot_be(attempt: Attempt) -> Expected:
    """Times of a run that contradict its physics."""
    info = json.loads(attempt.target.read_text("utf-8"))
    times = info["times"]
    wrong = (times[::-1], times[:-1], [*times[:-1], float("nan")], [t * 2 for t in times], [times[0]] * len(times), [])
    info["times"] = attempt.random.choice(wrong)
    attempt.target.write_text(json.dumps(info), "utf-8")
    return REFUSED


@mutation("run-json")
def names_that_are_unknown(attempt: Attempt) -> Expected:
    """Parts of a run that nobody knows."""
    info = json.loads(attempt.target.read_text("utf-8"))
    key = attempt.random.choice(("simulator", "method", "schema", "notes"))
    if key in ("method", "notes") and info.get("schema") == 1:  # files of that schema have none, and none is read
        raise InapplicableError
    info[key] = attempt.random.choice(("nothing", "os:system", 7, None, ["x"], {"model": "nothing"}))
    if key == "notes" and info[key] in (None, {}):
        raise InapplicableError
    attempt.target.write_text(json.dumps(info), "utf-8")
    return REFUSED
