"""Events to a web address: one POST an event, with its id as the idempotency key."""

import base64
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from infdet_deploy.addresses import redacted, split_address
from infdet_deploy.errors import InfdetError, UsageError
from infdet_deploy.live.sinks.base import Sink

TIMEOUT_S = 10.0
TOKEN = "INFDET_WEBHOOK_TOKEN"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None  # a redirected POST would become a GET


def _shown(url: str) -> str:
    """Scheme and host: the path is the secret of many webhooks, such as https://hooks.slack.com/services/…"""
    return "/".join(redacted(url).split("/")[:3])


class Webhook(Sink):
    """POSTs application/json to `url`; a status of 200 to 299 means that the receiver has stored the event.

    A name and password in the address, or the environment's INFDET_WEBHOOK_TOKEN, go into the Authorization header.
    Raises UsageError for anything but an http address, and for a host or token that no request can have.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        parts = split_address(url, "--webhook is ", ("http", "https"), "http://HOST[:PORT]/PATH or https://…")
        if not url.isascii():
            raise UsageError("--webhook: an address needs letters that are not ASCII percent-encoded")
        host = parts.netloc.rpartition("@")[2]
        try:
            (parts.hostname or "").encode("idna")
        except UnicodeError:
            raise UsageError(f"--webhook is '{redacted(url)}': no host can have this name; correct it") from None
        self._url = urllib.parse.urlunsplit(parts._replace(netloc=host, fragment=""))
        self.name, self._timeout_s = f"webhook {_shown(url)}", timeout_s
        self._headers = {"Content-Type": "application/json", "User-Agent": "infdet-deploy"}
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        elif token := os.environ.get(TOKEN):
            if not re.fullmatch(r"[\x21-\x7e]+", token):  # no HTTP header can contain it
                raise UsageError(f"{TOKEN} has blanks, line breaks or letters that are not ASCII; set the bare token")
            self._headers["Authorization"] = f"Bearer {token}"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def deliver(self, event: dict[str, Any]) -> None:
        headers = self._headers | {"Idempotency-Key": event["id"]}
        request = urllib.request.Request(self._url, json.dumps(event).encode(), headers, method="POST")
        try:
            self._opener.open(request, timeout=self._timeout_s).close()
        except urllib.error.HTTPError as error:
            where = error.headers.get("Location")
            error.close()
            where = where and _shown(urllib.parse.urljoin(self._url, where))
            hint = f"; redirected to {where}: give the address that it redirects to" if where else ""
            raise InfdetError(f"answered {error.code} {error.reason}{hint}") from None
        except urllib.error.URLError as error:
            raise InfdetError(f"not reached ({error.reason})") from None
