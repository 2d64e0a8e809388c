"""An RTSP camera: GStreamer's server, run by the system's Python. `python3 tests/live/sources/rtsp.py PORT` serves a
moving ball at rtsp://127.0.0.1:PORT/camera, 128×96, 25 pictures a second, until it is killed.

Debian: python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
"""

import subprocess
import sys

SYSTEM_PYTHON = "/usr/bin/python3"
PATH = "/camera"
_PICTURES = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=128,height=96,framerate=25/1 "
    "! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)
_AVAILABLE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


class RtspCamera:
    """The server in a process of its own, on a free port or on `port`."""

    def __init__(self, port: int = 0) -> None:
        line = [SYSTEM_PYTHON, __file__, str(port)]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate()


def available() -> bool:
    """Whether the system has GStreamer's server."""
    try:
        return subprocess.run([SYSTEM_PYTHON, "-c", _AVAILABLE], stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def main() -> None:
    """Serve; says its port once it listens."""
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_PICTURES)
    factory.set_shared(True)
    server.get_mount_points().add_factory(PATH, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
