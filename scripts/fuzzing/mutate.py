"""Damage to text files, at random and repeatable: what happens to files on the way, and what programs write wrongly."""

import re
from collections.abc import Callable, Sequence

import numpy as np

NUMBERS = (
    b"0 -1 1 99999 -99999 1e8 -1e8 1e308 nan inf -inf ******** 2147483648 -2147483649 99999999999999999999 "
    b"0x10 1.2.3 1,5 +-3 . ? - 1e-320 9999.999"
).split()
TOKENS = (
    b"HOH ZN CA SE X D UNK UNX DUM MSE A1AAA loop_ data_ save_ _atom_site.Cartn_x # ; ' \" $$$$ M  END TER "
    b"ENDMDL MODEL END ATOM HETATM @<TRIPOS>ATOM , =1+1 \\ \t \r \x00 \xff \xef\xbb\xbf \xc3\xa9"
).split(b" ")
NUMBER = re.compile(rb"-?\d+\.?\d*")
Random = np.random.Generator
Mutation = Callable[[bytes, bytes, Random], bytes]


def _place(content: bytes, rng: Random) -> int:
    return int(rng.integers(len(content) + 1))


def _span(content: bytes, rng: Random, most: int) -> slice:
    start = _place(content, rng)
    return slice(start, start + int(rng.integers(1, most)))


def flip_bits(content: bytes, other: bytes, rng: Random) -> bytes:
    """Other bits in one to eight bytes."""
    array = bytearray(content or b" ")
    for place in rng.integers(len(array), size=rng.integers(1, 9)):
        array[place] ^= 1 << int(rng.integers(8))
    return bytes(array)


def delete(content: bytes, other: bytes, rng: Random) -> bytes:
    """A piece is missing."""
    span = _span(content, rng, int(rng.choice([2, 10, 100, 5000])))
    return content[: span.start] + content[span.stop :]


def insert(content: bytes, other: bytes, rng: Random) -> bytes:
    """A piece of the file is there again elsewhere, or blanks or any bytes are."""
    place, span = _place(content, rng), _span(content, rng, int(rng.choice([2, 20, 500, 5000])))
    piece = [content[span], b" " * (span.stop - span.start), rng.bytes(min(span.stop - span.start, 50))]
    return content[:place] + piece[int(rng.integers(3))] + content[place:]


def truncate(content: bytes, other: bytes, rng: Random) -> bytes:
    """The end is missing."""
    return content[: _place(content, rng)]


def splice(content: bytes, other: bytes, rng: Random) -> bytes:
    """The beginning of one file and the end of another."""
    return content[: _place(content, rng)] + other[_place(other, rng) :]


def _lines(content: bytes, change: Callable[[list[bytes]], None]) -> bytes:
    lines = content.split(b"\n")
    change(lines)
    return b"\n".join(lines)


def swap_lines(content: bytes, other: bytes, rng: Random) -> bytes:
    """Two lines change places, in one to five pairs."""

    def change(lines: list[bytes]) -> None:
        for i, j in rng.integers(len(lines), size=(rng.integers(1, 6), 2)).tolist():
            lines[i], lines[j] = lines[j], lines[i]

    return _lines(content, change)


def repeat_lines(content: bytes, other: bytes, rng: Random) -> bytes:
    """Some lines are there again."""

    def change(lines: list[bytes]) -> None:
        start = int(rng.integers(len(lines)))
        piece = lines[start : start + int(rng.integers(1, 40))] * int(rng.integers(1, 4))
        place = int(rng.integers(len(lines) + 1))
        lines[place:place] = piece

    return _lines(content, change)


def shift_columns(content: bytes, other: bytes, rng: Random) -> bytes:
    """From some column on, lines move to the right or to the left."""

    def change(lines: list[bytes]) -> None:
        column, by = int(rng.integers(80)), int(rng.integers(-8, 9))
        chosen = rng.integers(len(lines), size=rng.integers(1, 6)).tolist() if rng.random() < 0.5 else range(len(lines))
        for i in chosen:
            left, right = lines[i][:column], lines[i][column:]
            lines[i] = left + (b" " * by + right if by > 0 else right[-by:])

    return _lines(content, change)


def replace_numbers(content: bytes, other: bytes, rng: Random) -> bytes:
    """One to four numbers are others, of the same width (as columns need) or not."""
    for _ in range(int(rng.integers(1, 5))):
        found = next(NUMBER.finditer(content, _place(content, rng)), None)
        if found is None:
            return content
        new = NUMBERS[int(rng.integers(len(NUMBERS)))]
        width = found.end() - found.start()
        new = new.rjust(width)[:width] if rng.random() < 0.6 else new
        content = content[: found.start()] + new + content[found.end() :]
    return content


def put_tokens(content: bytes, other: bytes, rng: Random) -> bytes:
    """Words that mean something to some reader, over or between what is there."""
    for _ in range(int(rng.integers(1, 5))):
        place, token = _place(content, rng), TOKENS[int(rng.integers(len(TOKENS)))]
        content = content[:place] + token + content[place + (len(token) if rng.random() < 0.6 else 0) :]
    return content


def change_line_ends(content: bytes, other: bytes, rng: Random) -> bytes:
    """Line ends, encodings and paddings of other systems."""
    ways: Sequence[Callable[[bytes], bytes]] = (
        lambda c: c.replace(b"\n", b"\r\n"),
        lambda c: c.replace(b"\n", b"\r"),
        lambda c: c.replace(b"\n", b""),
        lambda c: b"\xef\xbb\xbf" + c,
        lambda c: c.decode("latin-1").encode("utf-16"),
        lambda c: c + b"\0" * 512,
        lambda c: c.lower(),
        lambda c: c.replace(b"  ", b"\t"),
        lambda c: c + c,
    )
    return ways[int(rng.integers(len(ways)))](content)


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bits, delete, insert, truncate, splice, swap_lines, repeat_lines, shift_columns),
    *(replace_numbers, replace_numbers, replace_numbers, put_tokens, put_tokens, change_line_ends),
)


def mutate(content: bytes, other: bytes, rng: Random) -> bytes:
    """A damaged copy: one to four mutations, one after another. other: a file of the same format for pieces."""
    for number in rng.integers(len(MUTATIONS), size=rng.choice([1, 1, 1, 2, 4])).tolist():
        content = MUTATIONS[number](content, other, rng)
    return content
