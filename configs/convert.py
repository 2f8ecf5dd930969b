"""Values from YAML, JSON or the command line, brought to the type of their option."""

from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from configs.errors import ConfigError


def convert(name: str, value: Any, wanted: Any, source: str) -> Any:
    """Bring a value from YAML, JSON or the command line to its option's type (YAML reads `1e-4` as text).

    Raises:
        ConfigError: naming the option, the value and the wanted type.
    """
    kinds = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    if value is None and NoneType in kinds:
        return None
    (kind,) = (k for k in kinds if k is not NoneType)
    try:
        return _CONVERTERS[get_origin(kind) or kind](value, kind)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        choices = get_origin(kind) is Literal
        shown = " or ".join(map(repr, get_args(kind))) if choices else _NAMES[get_origin(kind) or kind]
        raise ConfigError(f"--{name} must be {shown}, got {value!r}", source) from error


def _to_bool(value: Any, _: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}[str(value).lower()]


def _to_int(value: Any, _: Any) -> int:
    if isinstance(value, bool) or not float(value).is_integer():
        _refuse()
    return int(value) if isinstance(value, int) else int(float(value))


def _to_float(value: Any, _: Any) -> float:
    return _refuse() if isinstance(value, bool) else float(value)


def _to_text(value: Any, _: Any) -> str:
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else _refuse()


def _to_choice(value: Any, kind: Any) -> Any:
    return value if value in get_args(kind) else _refuse()


def _to_tuple(value: Any, kind: Any) -> tuple[Any, ...]:
    """Several values, or a single one, of the tuple's type."""
    values = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
    one = get_args(kind)[0]
    return tuple(_CONVERTERS[get_origin(one) or one](v, one) for v in values)


def _refuse() -> NoReturn:
    raise ValueError


_CONVERTERS: dict[Any, Callable[[Any, Any], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_text,
    Literal: _to_choice,
    tuple: _to_tuple,
}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "values of its kind"}
