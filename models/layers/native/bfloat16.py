"""The convolution with bfloat16 factors in C, for x86 processors with the instructions of avx512_bf16."""

import ctypes
from functools import cache
from pathlib import Path

from models.layers import native

SOURCE = Path(__file__).parent / "convolution_bfloat16.c"
VECTOR, CHANNELS, MOST_COMPONENTS = 16, 4, 9
"""LANES, CHANNELS and MOST_COMPONENTS of the source."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, or None without a compiler or the instructions."""
    if native.turned_off():
        return None
    if "avx512_bf16" not in native.processor().split():
        native.slower(
            "bfloat16 products need a processor with avx512_bf16, and this one has none; "
            "--projection float32 is faster on it"
        )
        return None
    found = native.compiled(SOURCE)
    return None if found is None else _declared(found)


class Piece(ctypes.Structure):
    """As in the source."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("components", "start", "stride", "channel", "size", "coupling")),
        *((name, ctypes.c_int64) for name in ("weight", "packed")),
    ]


class Output(ctypes.Structure):
    """As in the source."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("dim", "channels", "padded", "start", "stride")),
        *((name, ctypes.c_int32) for name in ("first_piece", "n_pieces")),
        ("scale", ctypes.c_float),
    ]


class Plan(ctypes.Structure):
    """As in the source."""

    POINTERS = ("tables", "weight", "transposed", "bias", "bias_transposed", "first", "first_transposed")
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("n_outputs", "width_in", "width_out", "n_couplings", "filter_width")),
        *((name, ctypes.c_int32) for name in ("hidden", "padded_hidden", "edge_width", "padded_edge")),
        ("outputs", ctypes.POINTER(Output)),
        ("pieces", ctypes.POINTER(Piece)),
        *((name, ctypes.c_void_p) for name in POINTERS),
    ]


class Tensors(ctypes.Structure):
    """As in the source."""

    INPUTS = ("nodes", "sender", "inverse_count", "filled", "x", "filters", "edge", "receiver", "of_sender", "keep")
    OUTPUTS = ("out", "grad", "d_x", "d_weight", "d_bias", "d_edge", "d_receiver", "d_sender", "d_first")
    _fields_ = [(name, ctypes.c_void_p) for name in INPUTS + OUTPUTS]


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    plan, tensors = ctypes.POINTER(Plan), ctypes.POINTER(Tensors)
    loaded.pack.argtypes, loaded.pack.restype = [plan, ctypes.c_void_p], None
    for function in (loaded.forward, loaded.backward):
        function.argtypes, function.restype = [plan, tensors, *[ctypes.c_int64] * 5], ctypes.c_int
    return loaded
