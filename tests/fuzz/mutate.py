"""Mutations of bytes and of text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["mutate", "pick"]

T = TypeVar("T")

BOUNDARIES = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]
WORDS = [
    *(b"nan", b"inf", b"-inf", b"1e400", b"1e-400", b"1_0", b"0x10", b"1j", b"True", b"1,5", b"9" * 400, b"setosa"),
    *(b'"', b'""', b"'", b"\n", b"\r", b"\r\n", b"\0", b",", b";", b"\t", b" ", b"-", b"+", b".", b""),
    *(b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", "\uff11\uff12".encode(), "\u2028".encode()),
    *(b"\x1f\x8b\x08", b"PK\x03\x04", b"\x93NUMPY"),
]


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Return one of the items."""
    return items[int(rng.integers(len(items)))]


def mutate(rng: np.random.Generator, content: bytes, other: bytes = b"") -> bytes:
    """Return bytes with up to eight changes; ``other`` is another seed, from which pieces are taken."""
    for _ in range(int(rng.integers(0, 9)) if rng.random() < 0.9 else 40):
        content = pick(rng, MUTATIONS)(rng, content, other)
    return content


def _place(rng: np.random.Generator, content: bytes) -> int:
    return int(rng.integers(len(content) + 1)) if rng.random() < 0.7 else min(len(content), int(rng.integers(40)))


def _flip_bit(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    if not content:
        return content
    at = min(_place(rng, content), len(content) - 1)
    return content[:at] + bytes([content[at] ^ 1 << int(rng.integers(8))]) + content[at + 1 :]


def _set_byte(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + bytes([int(rng.integers(256))]) + content[at + 1 :]


def _set_integer(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    at, form = _place(rng, content), pick(rng, [">I", "<I", ">H", "<H", "<Q", "B"])
    size = struct.calcsize(form)
    value = pick(rng, BOUNDARIES) if rng.random() < 0.7 else int(rng.integers(100))
    return content[:at] + struct.pack(form, value % 256**size) + content[at + size :]


def _delete(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + content[at + int(rng.integers(1, 20)) :]


def _duplicate(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    at, size = _place(rng, content), int(rng.integers(1, 60))
    return content[:at] + content[at : at + size] * int(rng.integers(2, 6)) + content[at:]


def _insert_word(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + pick(rng, WORDS) + content[at + int(rng.integers(0, 3)) :]


def _insert_noise(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    at = _place(rng, content)
    return content[:at] + rng.bytes(int(rng.integers(1, 30))) + content[at:]


def _truncate(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    return content[: _place(rng, content)] if rng.random() < 0.5 else content


def _splice(rng: np.random.Generator, content: bytes, other: bytes) -> bytes:
    return content[: _place(rng, content)] + other[_place(rng, other) :]


MUTATIONS = [
    *(_flip_bit, _set_byte, _set_integer, _delete, _duplicate),
    *(_insert_word, _insert_word, _insert_noise, _truncate, _splice),
]
