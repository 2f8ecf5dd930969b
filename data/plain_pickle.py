"""Pickle files of plain data, read without running anything that they name.

A pickle is a program: it may name any function and have it called. Here only containers, numbers, strings and numpy
arrays come out; numpy's own functions are replaced by stand-ins, and any other name ends the reading. The interpreter
is Python's own written in Python, because the one in C allocates memory for whatever table size a file claims.
"""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from configs.errors import DataError
from configs.reading import read_bytes

MAX_PICKLE_BYTES = 4 * 2**30
ELEMENT_KINDS = "biufSU"  # of numpy arrays: numbers, bytes, text; "O" arrays become lists


class _Named:
    """A callable that a pickle may name. It has no attributes that a pickle could set."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("sets the state of a function")


class _ElementType:
    """Stand-in for numpy.dtype while a pickle is read."""

    __slots__ = ("text",)

    def __init__(self, text: Any, *_: Any) -> None:
        if not isinstance(text, str) or text[:1] not in (*ELEMENT_KINDS, "O") or not text[1:].isdecimal():
            raise pickle.UnpicklingError(f"holds an array of {text!r}")
        self.text = text

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("holds an array of unknown byte order")
        self.text = state[1] + self.text.lstrip("<>|=")

    def read(self, raw: Any) -> np.ndarray:
        if "O" in self.text:
            raise pickle.UnpicklingError("holds an array of objects in raw form")
        return np.frombuffer(raw.encode("latin-1") if isinstance(raw, str) else raw, self.text)


class _Array:
    """Stand-in for a numpy array while a pickle is read; `value` is the array."""

    __slots__ = ("value",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        shape, element, fortran, raw = state[-4:]
        if isinstance(raw, list):
            self.value: Any = raw
        else:
            self.value = element.read(raw).reshape(shape, order="F" if fortran else "C")


def _array_of_buffer(raw: Any, element: _ElementType, shape: tuple[int, ...], order: str) -> np.ndarray:
    return element.read(raw).reshape(shape, order=order)  # type: ignore[call-overload]


def _latin1(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encodes text as {encoding!r}")
    return text.encode("latin-1")


ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("_codecs", "encode"): _latin1,  # how old protocols write bytes
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _ElementType,
    ("numpy", "ndarray"): _Array,
}
for _core in ("numpy.core", "numpy._core"):
    ADMITTED[f"{_core}.multiarray", "_reconstruct"] = lambda *_: _Array()
    ADMITTED[f"{_core}.multiarray", "scalar"] = lambda element, raw: element.read(raw)[0].item()
    ADMITTED[f"{_core}.numeric", "_frombuffer"] = _array_of_buffer


class _PlainUnpickler(pickle._Unpickler):  # type: ignore[name-defined]
    def find_class(self, module: str, name: str) -> _Named:
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"names {module}.{name}, which is not plain data")
        return _Named(ADMITTED[module, name])

    def persistent_load(self, pid: object) -> NoReturn:
        raise pickle.UnpicklingError("refers to data outside the file")


def plain(value: Any, budget: list[int], depth: int = 0) -> Any:
    """`value` with arrays in the place of their stand-ins.

    `budget[0]` is how many more values may be visited: a small pickle can stand for a huge nested list by referring to
    its own parts again and again.
    """
    budget[0] -= len(value) if isinstance(value, list | tuple | dict | set | frozenset) else 1
    if budget[0] < 0 or depth > 16:
        raise pickle.UnpicklingError("expands to far more data than it holds")
    if isinstance(value, _Array):
        return plain(value.value, budget, depth + 1) if isinstance(value.value, list) else value.value
    if isinstance(value, list | tuple):
        return [v if isinstance(v, int | float | str) else plain(v, budget, depth + 1) for v in value]
    if isinstance(value, dict):
        return {key: plain(v, budget, depth + 1) for key, v in value.items()}
    if isinstance(value, _Named | _ElementType):
        raise pickle.UnpicklingError("holds a function or type as a value")
    return value


def read_plain_pickle(path: str | Path, max_bytes: int = MAX_PICKLE_BYTES) -> Any:
    """What a pickle file of plain data holds: containers, numbers, strings, numpy arrays (tuples become lists).

    Raises:
        DataError: too large, damaged, or naming anything else; nothing that it names has been executed.
    """
    path = Path(path)
    content = read_bytes(path)
    size = len(content)
    if size > max_bytes:
        raise DataError(f"is {size} bytes long, more than the limit of {max_bytes}", path, hint="raise --max_bytes")
    damaged = (
        EOFError,
        RecursionError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        MemoryError,
        struct.error,
    )
    try:
        return plain(_PlainUnpickler(io.BytesIO(content)).load(), [4 * size + 1000])
    except pickle.UnpicklingError as refused:
        raise DataError(f"is refused: it {refused}", path, hint="only plain containers and numpy arrays") from refused
    except (*damaged, AssertionError) as broken:  # what Python's unpickler raises on bytes that make no sense
        raise DataError("is not a readable pickle file; it is damaged", path) from broken
