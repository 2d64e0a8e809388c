"""The address of a source: its kind, and how libav opens it.

| address | source |
|---|---|
| `rtsp://host/path`, `rtsps://…` | a camera's stream |
| `http://host/path`, `https://…` | MJPEG, HLS or any other stream that libav reads |
| `v4l2:/dev/video0?pixel_format=gray16le&video_size=160x120`, `/dev/video0` | a camera on this machine; after `?` options of libav's v4l2 input |
| `path`, `file:///path` | any recording that `read_video` reads |
"""  # noqa: E501

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from infdet_deploy.addresses import from_environment, redacted, split_address
from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.live.sources.messages import Request
from infdet_deploy.text import visible
from infdet_deploy.video.preparation import Preparation

_EXPECTED = "expected rtsp://…, http://…, https://…, v4l2:/dev/videoN or the path of a file"

# A playlist must not make libav open local files.
_HTTP = {"protocol_whitelist": "http,https,tcp,tls,crypto"}
_RTSP = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,tcp,tls,udp",
    "rtsp_flags": "prefer_tcp",  # over UDP, lost packets become damaged pictures
    "allowed_media_types": "video",
}
# Limits how long libav probes a stream before the first frame: the size is needed, the exact rate is not.
_PROBE = {"fpsprobesize": "0", "analyzeduration": "2000000"}
_STREAMS = {"rtsp": _RTSP | _PROBE, "rtsps": _RTSP | _PROBE, "http": _HTTP | _PROBE, "https": _HTTP | _PROBE}


@dataclass(frozen=True)
class Address:
    """A parsed address."""

    kind: Literal["stream", "camera", "file"]  # camera: on this machine
    target: str  # what libav opens
    shown: str  # the address for messages, see `redacted`
    name: str  # a short name derived from it
    options: dict[str, str] = field(default_factory=dict)  # libav's

    @classmethod
    def of(cls, url: str) -> "Address":
        """Parse an address; UsageError for an unknown kind, VideoError for a missing file or device."""
        if url.startswith("v4l2:") or re.fullmatch(r"/dev/video\d+", url):
            return _camera(url.removeprefix("v4l2:"))
        scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)(?=://)", url)
        if scheme is None or scheme[0].lower() == "file":
            path = Path(url if scheme is None else unquote(urlsplit(url).path))
            if not path.exists():
                raise VideoError(f"{redacted(str(path))}: no such file; {_EXPECTED}")
            name = visible(path.name if path.is_dir() else path.stem)
            return cls("file", str(path.absolute()), visible(str(path)), name)
        if scheme[0].lower() not in _STREAMS:
            raise UsageError(f"{scheme[0]}://…: unknown kind of address {scheme[0]!r}; {_EXPECTED}")
        return _stream(url)

    def request(self, preparation: Preparation, fps: float | None, paced: bool, gap_s: float) -> Request:
        """The request for the decoder process."""
        options = self.options | ({"framerate": str(fps)} if fps and self.kind == "camera" else {})
        return Request(self.kind, self.target, options, preparation, fps, paced, gap_s)


def _stream(url: str) -> Address:
    parts = split_address(url, "the address is ", tuple(_STREAMS), _EXPECTED.removeprefix("expected "))
    shown = redacted(url)
    path = shown.partition("://")[2].partition("/")[2].replace("?…", "").rstrip("/…")
    host = "" if shown.endswith("://…") else parts.hostname or ""
    return Address(
        "stream", from_environment(url), shown, "/".join(filter(None, (host, path))) or parts.scheme,
        _STREAMS[parts.scheme],
    )  # fmt: skip


def _camera(url: str) -> Address:
    target, _, query = url.partition("?")
    path = Path(target)
    if not path.exists() or not stat.S_ISCHR(path.stat().st_mode):
        found = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise VideoError(f"{target}: no such camera; expected a device such as /dev/video0 (found: {found})")
    return Address("camera", target, f"v4l2:{target}", path.name, dict(parse_qsl(query)))
