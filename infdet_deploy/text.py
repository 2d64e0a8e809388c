"""Text from outside in messages and file names: control characters and other encodings."""

import codecs
import re
import sys
import unicodedata

# Control characters, line separators, marks that reverse the direction of text, bytes that are not UTF-8.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ASCII = {"–": "-", "—": "-", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "±": "+-", "−": "-", "·": "."}
_LONGEST_NAME = 180  # bytes; file systems allow 255 with suffixes


def visible(text: str) -> str:
    r"""The text with control characters, line breaks and bytes that are not UTF-8 as escapes such as `\x1b`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def file_name(text: str) -> str:
    """A name as the name of one file in a folder: percent-encoded where it could be none, so that names stay apart."""
    unsafe = re.compile(rf"{_UNSEEN.pattern[:-1]}/\\%]|^\.")
    name = unsafe.sub(lambda found: "".join(f"%{b:02X}" for b in found[0].encode("utf-8", "surrogatepass")), text)
    if len(name.encode()) <= _LONGEST_NAME:
        return name or "%"
    import hashlib

    end = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}-{end}"


def prepare_output() -> None:
    """Print what the encoding of stdout and stderr lacks as similar characters, instead of failing."""
    codecs.register_error("infdet", _similar)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="infdet")


def _similar(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return visible(character)
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _ASCII.get(character) or plain or "?"
