"""React to actions in a camera stream: python live_loop.py NAME.infdet rtsp://10.0.0.7/stream.

A file works too; it plays at its own pace.
"""

import sys
import threading

from infdet_deploy import Event, WatchOptions, watch


def main(bundle: str, source: str, seconds: str = "3600") -> None:
    def on_event(event: Event) -> None:
        print(f"{event.camera}: {event.label}, score {event.score:.3f}")

    stop = threading.Event()
    timer = threading.Timer(float(seconds), stop.set)
    timer.start()
    try:
        result = watch(bundle, [source], WatchOptions(every=4), on_event=on_event, stop=stop)
    finally:
        timer.cancel()
    for camera in result.cameras:
        print(camera)


if __name__ == "__main__":
    main(*sys.argv[1:])
