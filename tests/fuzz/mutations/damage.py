"""Damage to bytes, whatever the format: what disks, networks and killed writers do to files."""

from __future__ import annotations

from tests.fuzz.attempt import ANY, SAME, Attempt, Expected, InapplicableError, mutation

BLOCK = 512  # bytes of a sector


def _bytes(attempt: Attempt) -> bytearray:
    data = bytearray(attempt.target.read_bytes())
    if not data:
        raise InapplicableError
    return data


@mutation("bytes", "flips")
def flip_bit(attempt: Attempt) -> Expected:
    """One bit is another one."""
    data = _bytes(attempt)
    data[attempt.random.randrange(len(data))] ^= 1 << attempt.random.randrange(8)
    attempt.target.write_bytes(data)
    return attempt.changed


@mutation("bytes")
def flip_bits(attempt: Attempt) -> Expected:
    """Some bits in different places are others."""
    data = _bytes(attempt)
    for _ in range(attempt.random.choice((2, 8, 64))):
        data[attempt.random.randrange(len(data))] ^= 1 << attempt.random.randrange(8)
    attempt.target.write_bytes(data)
    return attempt.changed


@mutation("bytes")
def random_bytes(attempt: Attempt) -> Expected:
    """A stretch of bytes is noise."""
    data = _bytes(attempt)
    at = attempt.random.randrange(len(data))
    noise = attempt.random.randbytes(attempt.random.choice((1, 4, 16, 64)))
    data[at : at + len(noise)] = noise
    attempt.target.write_bytes(data)
    return attempt.changed


@mutation("bytes")
def zeroed_block(attempt: Attempt) -> Expected:
    """A sector was never written."""
    data = _bytes(attempt)
    at = attempt.random.randrange(len(data)) // BLOCK * BLOCK
    data[at : at + BLOCK] = bytes(len(data[at : at + BLOCK]))
    attempt.target.write_bytes(data)
    return attempt.changed


@mutation("bytes")
def cut(attempt: Attempt) -> Expected:
    """The end is missing, somewhere."""
    data = _bytes(attempt)
    attempt.target.write_bytes(data[: attempt.random.randrange(len(data))])
    return _cut(attempt)


@mutation("bytes")
def cut_by_little(attempt: Attempt) -> Expected:
    """The last bytes are missing."""
    data = _bytes(attempt)
    attempt.target.write_bytes(data[: -attempt.random.choice((1, 2, 8))])
    return _cut(attempt)


@mutation("bytes")
def emptied(attempt: Attempt) -> Expected:
    """The file has no bytes."""
    attempt.target.write_bytes(b"")
    return _cut(attempt)


@mutation("bytes")
def cut_and_filled(attempt: Attempt) -> Expected:
    """The end was never written, but the file has its length: a download that was preallocated."""
    data = _bytes(attempt)
    at = attempt.random.randrange(len(data))
    attempt.target.write_bytes(data[:at] + bytes(len(data) - at))
    return attempt.changed


@mutation("bytes")
def swapped_blocks(attempt: Attempt) -> Expected:
    """Two stretches changed places."""
    data = _bytes(attempt)
    n = min(64, len(data) // 3)
    if not n:
        raise InapplicableError
    a, b = (attempt.random.randrange(len(data) - n) for _ in range(2))
    first, second = data[a : a + n], data[b : b + n]
    data[a : a + n], data[b : b + n] = second, first
    attempt.target.write_bytes(data)
    return attempt.changed


@mutation("bytes")
def inserted(attempt: Attempt) -> Expected:
    """Bytes too many, in the middle."""
    data = _bytes(attempt)
    at = attempt.random.randrange(len(data))
    data[at:at] = attempt.random.randbytes(attempt.random.choice((1, 3, 8)))
    attempt.target.write_bytes(data)
    return attempt.changed


@mutation("bytes")
def appended(attempt: Attempt) -> Expected:
    """Bytes too many, at the end."""
    data = _bytes(attempt)
    attempt.target.write_bytes(data + attempt.random.randbytes(attempt.random.choice((1, 100, 10_000))))
    return attempt.changed


@mutation("bytes")
def doubled(attempt: Attempt) -> Expected:
    """The file twice, one after the other."""
    data = _bytes(attempt)
    attempt.target.write_bytes(data + data)
    return attempt.changed


@mutation("bytes")
def noise(attempt: Attempt) -> Expected:
    """Noise under the name of the file."""
    attempt.target.write_bytes(attempt.random.randbytes(attempt.random.choice((1, 7, 100, 5000))))
    return _cut(attempt)


def _cut(attempt: Attempt) -> Expected:
    """Lines of text that end early are still lines; anything else that says less than it did is damaged."""
    return ANY if attempt.target.suffix in (".csv", ".toml", ".jsonl") else SAME
