"""A camera on this machine, and a cable to it that can be disturbed: an MJPEG server behind a TCP proxy."""

import contextlib
import io
import random
import select
import socket
import struct
import threading
import time

import av
import numpy as np
from numpy.typing import NDArray

from tests.video.recordings import moving_scene

_HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """uint8 [H,W] as a JPEG file."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width = picture.shape
        stream.pix_fmt = "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuvj420p")))
        container.mux(stream.encode())
    return memory.getvalue()


class _Listener:
    """A listening socket whose every connection is served by a thread."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self._accepting: threading.Thread | None = None
        self.open()

    def open(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def refuse(self) -> None:
        """Stop listening: who connects is refused."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        if self._accepting is not None:
            self._accepting.join()

    def close(self) -> None:
        """End all threads and connections."""
        self._stopping.set()
        self.refuse()
        for thread in self._threads:
            thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        raise NotImplementedError


class Camera(_Listener):
    """Serves MJPEG over HTTP, `fps` pictures a second to each connection; `show` changes what it shows."""

    def __init__(self, fps: float = 25.0) -> None:
        self._fps = fps
        self.show(moving_scene(25))
        super().__init__()

    def show(self, pictures: NDArray[np.uint8]) -> None:
        """Show uint8 [T,H,W] in a loop from now on."""
        self._jpegs = [jpeg(picture) for picture in pictures]

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(_HEADER)
            begun, number = time.monotonic(), 0
            while not self._stopping.wait(max(begun + number / self._fps - time.monotonic(), 0)):
                jpegs = self._jpegs
                data = jpegs[number % len(jpegs)]
                part = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                connection.sendall(part + data + b"\r\n")
                number += 1


class Proxy(_Listener):
    """Relays to `port`; `fault` says what the cable does.

    | fault | new connections | existing connections |
    |---|---|---|
    | `drop` | refused | reset |
    | `hang` | accepted, no data | no data |
    | `half-open` | accepted, no camera behind them | the camera has gone, without a reset |
    | `garbage` | random bytes in place of the data | likewise |
    | `slow` | 2 kB a second | likewise |
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.fault: str | None = None
        super().__init__()

    @property
    def url(self) -> str:
        """Where to read the stream."""
        return f"http://127.0.0.1:{self.port}/stream"

    def begin(self, fault: str) -> None:
        """Disturb."""
        self.fault = fault
        if fault == "drop":
            self.refuse()

    def heal(self) -> None:
        """Let new connections be well."""
        fault, self.fault = self.fault, None
        if fault == "drop":
            self.open()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as camera:
            self._relay(connection, camera)

    def _relay(self, connection: socket.socket, camera: socket.socket) -> None:
        noise = random.Random(1)
        silent = False
        while not self._stopping.is_set():
            fault = self.fault
            if fault == "drop":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            silent = silent or fault in ("hang", "half-open")
            if fault == "half-open":
                camera.close()
            both = [connection] if camera.fileno() < 0 else [connection, camera]
            readable, _, _ = select.select(both, [], [], 0.05)
            if connection in readable:
                request = connection.recv(4096)
                if not request:
                    return
                if not silent:
                    camera.sendall(request)
            if camera in readable:
                data = camera.recv(512 if fault == "slow" else 1 << 16)
                if not data:
                    return
                if silent:
                    continue
                if fault == "slow":
                    self._stopping.wait(0.25)
                connection.sendall(noise.randbytes(len(data)) if fault == "garbage" else data)
