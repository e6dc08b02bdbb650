"""Changes of JSON text, wherever it stands: in files, lines, attributes, headers.

``WRONG`` makes documents of a wrong shape, ``OTHER`` valid ones that say something else.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Change = Callable[[str, random.Random], str]

DEEP = 100_000
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    {"a": None},
    "",
    "x",
    "\x1b[31mred\x07",
    "../../../etc/passwd",
    "/etc/passwd",
    "os:system",
    "json:loads",
    "nothing.of:This",
    "é" * 300,
    "x" * 20_000,
    "a\nb\r\nc",
    -1,
    0,
    1,
    3,
    2**63,
    -(2**63),
    10**30,
    1e-320,
    1e308,
    -1e308,
    0.1,
    float("nan"),
    float("inf"),
    [1, "a", None],
    [1e308] * 5,
    list(range(500)),
    {"simulator": "heat"},
)


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a document as the container and the key in it."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from nodes(value[key])


def _place(text: str, rng: random.Random) -> tuple[Any, Any, Any]:
    document = json.loads(text)
    found = list(nodes(document))
    # Half of the time near the top, where programs look; lists of numbers have most of the places.
    near = [(box, key) for box, key in found if box is document]
    box, key = rng.choice(near if near and rng.random() < 0.5 else found)
    return document, box, key


def _replaced(text: str, rng: random.Random) -> str:
    document, box, key = _place(text, rng)
    box[key] = rng.choice(VALUES)
    return json.dumps(document)


def _removed(text: str, rng: random.Random) -> str:
    document, box, key = _place(text, rng)
    del box[key]
    return json.dumps(document)


def _renamed(text: str, rng: random.Random) -> str:
    document, box, key = _place(text, rng)
    if isinstance(box, dict):
        box[rng.choice((f"{key}_", key.upper(), "", "\x1b[2J", "x" * 5000))] = box.pop(key)
    return json.dumps(document)


def _added(text: str, rng: random.Random) -> str:
    document, box, key = _place(text, rng)
    if isinstance(box, dict):
        box[rng.choice(("extra", "__class__", "a.b", "", "schema "))] = rng.choice(VALUES)
    else:
        box.insert(key, rng.choice(VALUES))
    return json.dumps(document)


def _number_moved(text: str, rng: random.Random) -> str:
    document = json.loads(text)
    found = [(box, k) for box, k in nodes(document) if isinstance(box[k], int | float) and box[k] is not True]
    if not found:
        return _replaced(text, rng)
    box, key = rng.choice(found)
    box[key] = rng.choice((-box[key], box[key] * 1e9, box[key] + 1, box[key] * 1.01, 0, box[key] / 1e9))
    return json.dumps(document)


def _list_resized(text: str, rng: random.Random) -> str:
    document = json.loads(text)
    found = [(box, k) for box, k in nodes(document) if isinstance(box[k], list) and box[k]]
    if not found:
        return _replaced(text, rng)
    box, key = rng.choice(found)
    box[key] = rng.choice((box[key][:-1], box[key][::-1], box[key] * 2, [box[key]], box[key] * 300, box[key][:1]))
    return json.dumps(document)


def _deep_inside(text: str, rng: random.Random) -> str:
    document, box, key = _place(text, rng)
    box[key] = "DEEP"
    return json.dumps(document).replace('"DEEP"', "[" * DEEP + "]" * DEEP)


def _twice(text: str, rng: random.Random) -> str:
    document = json.loads(text)
    if not isinstance(document, dict) or not document:
        return text + text
    key = rng.choice(list(document))
    return f"{{{json.dumps(key)}: {json.dumps(rng.choice(VALUES))}, " + json.dumps(document)[1:]


OTHER: dict[str, Change] = {
    "value-replaced": _replaced,
    "value-removed": _removed,
    "key-renamed": _renamed,
    "value-added": _added,
    "number-moved": _number_moved,
    "list-resized": _list_resized,
    "key-twice": _twice,
    "deep-inside": _deep_inside,
}

WRONG: dict[str, Change] = {
    "a-list": lambda text, rng: f"[{text}]",
    "no-object": lambda text, rng: rng.choice(("null", "true", "3", '"x"', "[]", "{}", "1e999", '""', "[1, 2]")),
    "deep": lambda text, rng: rng.choice(("[" * DEEP, "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP)),
    "huge-number": lambda text, rng: '{"schema": ' + "9" * 6000 + "}",
    "cut": lambda text, rng: text[: rng.randrange(len(text))],
    "no-json": lambda text, rng: rng.choice(("", " ", "{", "nan", "{'a': 1}", "\x00", "<html>", "schema: 2", "{,}")),
    "surrogate": lambda text, rng: '{"simulator": "\\ud800", "schema": "\\udfff"}',
    "two-documents": lambda text, rng: text + "\n" + text,
}
