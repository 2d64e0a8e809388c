"""Addresses of cameras, brokers and webhooks: no password in a message, a log or the list of processes."""

import os
import re
from urllib.parse import SplitResult, quote, urlsplit

from infdet_deploy.errors import UsageError
from infdet_deploy.text import visible

# A path that was an address has lost a slash.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/{1,2})([^/?#]*)([^?#;]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(:\d{1,5})?")
_ADVICE = "write / ? # @ % and blanks of a user or password as %2F %3F %23 %40 %25 %20"


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
