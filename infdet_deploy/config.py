"""Configuration as frozen dataclasses, read strictly: unknown keys and wrong types are errors that name the key."""

import dataclasses
import json
import os
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from infdet_deploy.errors import ConfigError
from infdet_deploy.files import regular_only

Config = TypeVar("Config")


def from_dict(kind: type[Config], values: Any, where: str = "configuration") -> Config:
    """Build the dataclass `kind` from a mapping.

    Supports nested dataclasses, lists, tuples, dicts, literals and `X | None`; an int is accepted for a float. Raises
    ConfigError for a missing key, a value of the wrong type, and an unknown key unless `kind.ignores_unknown_keys`.
    """
    if not isinstance(values, dict):
        raise ConfigError(
            f"{where}: got {type(values).__name__}, expected an object with the fields of {kind.__name__}"
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields and not getattr(kind, "ignores_unknown_keys", False):
            raise ConfigError(f"{where}: unknown key '{key}'; known keys are {', '.join(fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], f"{where}: '{name}'")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: key '{name}' is missing")
    return kind(**arguments)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if type(value) in arguments:
            return value
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where} is {value!r}, expected one of {', '.join(map(repr, arguments))}")
        return value
    if origin in (tuple, list):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}, expected a list")
        if origin is tuple and arguments[-1] is not Ellipsis:
            if len(value) != len(arguments):
                raise ConfigError(f"{where} has {len(value)} entries, expected {len(arguments)}")
            return tuple(_convert(a, v, where) for a, v in zip(arguments, value, strict=True))
        return origin(_convert(arguments[0], item, where) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}, expected an object")
        return {key: _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where} is {value!r}, expected {hint.__name__}")
    return value


def to_dict(config: Any) -> dict[str, Any]:
    """The dataclass as JSON types, paths as text; `from_dict` reads it back to an equal object if it has no paths."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=os.fspath))
    return plain


def read_json(path: Path | str, what: str = "configuration") -> Any:
    """Parse a JSON file. Raises ConfigError with the file, and the line if it is not JSON."""
    try:
        with open(path, encoding="utf-8", opener=regular_only) as file:
            return json.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{what}: no such file: {path}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{what}: {path}:{error.lineno}: not valid JSON ({error.msg})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what}: cannot read {path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{what}: {path}: not valid JSON (nested too deeply)") from None
    except ValueError:  # of Python's int, for thousands of digits
        raise ConfigError(f"{what}: {path}: not valid JSON (a number is too long)") from None
