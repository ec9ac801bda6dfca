"""The JSON of the sockets: frozen dataclass <-> message. An error names the path to the bad field.

Also the form in which state and container labels are kept, so one codec is all there is. Understood types: str, int, float, bool,
StrEnum, `X | None`, `tuple[X, ...]`, `Mapping[str, X]` and frozen dataclasses of those. Nothing else travels.
"""

from __future__ import annotations

import difflib
import json
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import InvalidInput

T = TypeVar("T")
SURROGATES = re.compile("[\ud800-\udfff]")
SCALARS: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def dump(value: object) -> Any:
    """A value as what `json.dumps` takes. Fields keep their names; None is kept, so a reader sees every field."""
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: dump(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): dump(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [dump(item) for item in value]
    raise TypeError(f"{type(value).__name__} does not travel")


def encode(value: object) -> str:
    text = json.dumps(dump(value), separators=(",", ":"), ensure_ascii=False)
    # A path that is no UTF-8 is carried in lone surrogates, which only JSON's own escapes can say.
    return text if text.isascii() or not SURROGATES.search(text) else json.dumps(dump(value), separators=(",", ":"))


def decode(kind: type[T], text: str | bytes, *, strict: bool = False) -> T:
    """Parse JSON text. Raises InvalidInput for text that is not JSON or not a `kind`."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:  # the second: nested a thousand deep
        raise InvalidInput(f"not JSON: {error}") from None
    return load(kind, message, strict=strict)


def load(kind: type[T], message: object, path: str = "", *, strict: bool = False) -> T:
    """Build a `kind` from decoded JSON.

    Raises InvalidInput naming `path`. `strict` refuses unknown fields and names the nearest known one (requests: a typo must not
    be ignored); otherwise they pass (answers: a newer daemon may say more).
    """
    value: T = _load(kind, message, path, strict=strict)
    return value


def _load(kind: Any, message: object, path: str, *, strict: bool) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _load_optional(kind, message, path, strict=strict)
    if origin is tuple:
        if not isinstance(message, list):
            raise wrong(path, "a list", message)
        return tuple(_load(get_args(kind)[0], item, f"{path}[{number}]", strict=strict) for number, item in enumerate(message))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(message, dict):
            raise wrong(path, "an object", message)
        return {key: _load(get_args(kind)[1], item, f"{path}.{key}", strict=strict) for key, item in message.items()}
    if dataclass_type(kind):
        return _load_dataclass(kind, message, path, strict=strict)
    return _load_scalar(kind, message, path)


def _load_optional(kind: Any, message: object, path: str, *, strict: bool) -> Any:
    if message is None:
        return None
    (inner,) = (arg for arg in get_args(kind) if arg is not types.NoneType)
    return _load(inner, message, path, strict=strict)


def _load_scalar(kind: Any, message: object, path: str) -> Any:
    if issubclass(kind, StrEnum):
        try:
            return kind(message)
        except ValueError:
            raise wrong(path, "one of " + ", ".join(kind), message) from None
    if kind is float and isinstance(message, int) and not isinstance(message, bool):
        return float(message)
    if type(message) is not kind:
        raise wrong(path, "a " + SCALARS[kind], message)
    return message


def _load_dataclass(kind: Any, message: object, path: str, *, strict: bool) -> Any:
    if not isinstance(message, dict):
        raise wrong(path, "an object", message)
    known = fields_of(kind)
    for key in message:
        if strict and key not in known:
            raise InvalidInput(f"unknown field {joined(path, str(key))!r}", hint=nearest(str(key), known))
    values = {key: _load(known[key], item, joined(path, key), strict=strict) for key, item in message.items() if key in known}
    for field in fields(kind):
        if field.name not in values and not has_default(field):
            raise InvalidInput(f"{joined(path, field.name)} is missing")
    return kind(**values)


def has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def dataclass_type(kind: Any) -> bool:
    return is_dataclass(kind)


@cache
def fields_of(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def nearest(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(known)


def wrong(path: str, wanted: str, message: object) -> InvalidInput:
    shown = json.dumps(message, default=str)
    return InvalidInput(f"{path or 'the message'} must be {wanted}, not {shown if len(shown) <= 60 else shown[:57] + '...'}")


def schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a type, for the OpenAPI document."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(kind) if arg is not types.NoneType)
        return {"anyOf": [schema(inner), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": schema(get_args(kind)[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema(get_args(kind)[1])}
    if dataclass_type(kind):
        return {
            "type": "object",
            "title": getattr(kind, "__name__", ""),
            "properties": {name: schema(hint) for name, hint in fields_of(kind).items()},
            "required": [field.name for field in fields(kind) if not has_default(field)],
        }
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    return {"type": SCALARS[kind]}
