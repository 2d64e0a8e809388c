"""Names of precisions, and what users may write for them."""

from collections.abc import Sequence
from typing import Literal, get_args

from infdet_deploy.errors import UsageError

Precision = Literal["float32", "bfloat16", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_ALIASES: dict[str, Precision] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}


def parse_precision(text: str) -> Precision:
    """The precision that `text` names: float32, bfloat16, float16, int8, or fp32, bf16, fp16.

    Raises UsageError for any other name.
    """
    name = text.strip().lower()
    for precision in PRECISIONS:
        if _ALIASES.get(name, name) == precision:
            return precision
    raise UsageError(f"unknown precision '{text}'; expected {', '.join(PRECISIONS)} (or fp32, bf16, fp16)")


def parse_precisions(text: str | Sequence[str]) -> tuple[Precision, ...] | None:
    """The precisions in a comma-separated list or in several of them, without repeats; None for `all`.

    Raises UsageError for an unknown name, an empty list, and `all` together with a name.
    """
    names = [name for part in ([text] if isinstance(text, str) else text) for name in part.split(",")]
    if [name.strip() for name in names] == ["all"]:
        return None
    return tuple(dict.fromkeys(parse_precision(name) for name in names))
