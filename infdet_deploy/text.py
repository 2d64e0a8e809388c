"""Text from outside in messages and file names: control characters, other encodings, addresses with passwords."""

import codecs
import os
import re
import sys
import unicodedata
from urllib.parse import SplitResult, quote, urlsplit

from infdet_deploy.errors import UsageError

# Control characters, line separators, marks that reverse the direction of text, bytes that are not UTF-8.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_ASCII = {"–": "-", "—": "-", "×": "x", "→": "->", "≥": ">=", "≤": "<=", "±": "+-", "−": "-", "·": "."}
_LONGEST_NAME = 180  # bytes; file systems allow 255 with suffixes

# A path that was an address has lost a slash.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/{1,2})([^/?#]*)([^?#;]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(:\d{1,5})?")
_ADVICE = "write / ? # @ % and blanks of a user or password as %2F %3F %23 %40 %25 %20"


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


def redacted(address: str) -> str:
    """An address without user, password, query, and anything that may be a part of them.

    A password with `/`, `?` or `#` ends where a path would, so after an `@` in the path or query nothing is shown.
    Some cameras have the password in the path (`/user=admin&password=…`). Text without a scheme is an address only if
    it has a user and password.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        return "…" if re.search(":.*@", address, re.DOTALL) else visible(address)
    scheme, authority, path, rest = found.groups()
    host = authority.rpartition("@")[2]
    if "@" in path + rest or not (_HOST.fullmatch(host) or (not authority and scheme.startswith("file:"))):
        return f"{scheme}…"
    secret = re.search("/[^/]*[=&].*", path, re.DOTALL)
    return visible(scheme + host + (f"{path[: secret.start()]}/…" if secret else path)) + ("?…" if rest else "")


def split_address(address: str, option: str, schemes: tuple[str, ...], expected: str) -> SplitResult:
    """The parts of an address with a host; its port is a number or None.

    `${NAME}` is replaced by that environment variable, percent-encoded: so a password appears neither in the command
    line nor in the list of processes. option: begins the message, as in "--mqtt is '…'". Raises UsageError, which shows
    no part of a password.
    """
    shown = f"{option}'{redacted(address)}'"
    address = from_environment(address)
    try:
        parts = urlsplit(address)
        is_address = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket
        is_address = False
    if is_address:  # "user:12" of "user:12/3@host" is read as host and port; a query may have an @ in a value
        no_query = re.match("[^=@]*@", parts.query) is not None
        misplaced = ":" in parts.netloc and (no_query or "@" in parts.path + parts.fragment)
    else:
        misplaced = "@" in address
    if misplaced or (is_address and re.search(r"[\x00-\x20\x7f]", address)):
        raise UsageError(f"{shown}; expected {expected}; {_ADVICE}")
    if not is_address:
        raise UsageError(f"{shown}; expected {expected}")
    return parts


def from_environment(address: str) -> str:
    """The address with `${NAME}` replaced by environment variables, percent-encoded. UsageError for a missing one."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise UsageError(f"${{{found[1]}}} in an address: there is no environment variable {found[1]}; set it")
        return quote(os.environ[found[1]], safe="")

    return re.sub(r"\$\{(\w+)\}", value, address)
