"""From frames to detections with a bundle's compiled stages. No torch."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from infdet_deploy.bundle.loading import Bundle, open_bundle
from infdet_deploy.bundle.schema import TOWERS, features_name
from infdet_deploy.detections import Detection
from infdet_deploy.errors import InfdetError, UsageError, VideoError
from infdet_deploy.runtime.backends.base import Performance
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.chunks import CHUNK_SNIPPETS, GROUP_CHUNKS, Chunk, clip_chunks
from infdet_deploy.runtime.compiled_stages import CompiledStages, stage_source
from infdet_deploy.runtime.disk_array import DiskArray
from infdet_deploy.runtime.results import Analysis, checked_scores, detections_in, detections_of, head_scores
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES, valid_length
from infdet_deploy.system import trim_memory
from infdet_deploy.video import ThermalArray, Video
from infdet_deploy.video.block_reader import BlockReader
from infdet_deploy.video.frames import read_prepared
from infdet_deploy.video.preparation import Preparation
from infdet_deploy.video.timeline import Part

FEN_BLOCK = 64  # frames whose flow is computed at once
# Snippets of the longest clip that the head computes as a whole. Its memory grows with their square.
HEAD_SNIPPETS = 1024

Timings = dict[str, float]


class Detector(CompiledStages):
    """A bundle ready to run: `Detector("NAME.infdet").detect("video.mp4")`.

    chunk_snippets: features computed at once. The towers process a longer clip in chunks that overlap by their
    receptive field; this yields the features of the whole clip in bounded memory. performance: `latency` computes one
    chunk after another, each on all CPUs; `throughput` computes `concurrency` chunks at a time, and as many threads may
    call one detector. The scores differ only by rounding.
    Raises BundleError, BackendError or UsageError if the bundle is damaged or the backend cannot run it.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        backend: str = "openvino",
        precision: str = "float32",
        chunk_snippets: int = CHUNK_SNIPPETS,
        performance: Performance = "latency",
    ) -> None:
        self.backend, self.precision, self.chunk_snippets = backend, precision, chunk_snippets
        super().__init__()
        try:
            if isinstance(bundle, Bundle):
                self.bundle = bundle
            else:
                with open_bundle(bundle) as (unchecked, checked):  # files are hashed while cached stages are loaded
                    with suppress(UsageError):  # raised again below, after the check
                        self._open(unchecked, performance, cached=True)
                    self.bundle = checked()
            self._open(self.bundle, performance)
        except BaseException:
            self.close()
            raise
        self.concurrency = min(stage.concurrency for stage in self._stages.values())

    def _open(self, bundle: Bundle, performance: Performance, cached: bool = False) -> None:
        """Open the stages. cached: open only stages in the cache, without reading the bundle's files."""
        backend = get_backend(self.backend)
        for stage in bundle.stages:
            if stage not in self._stages:
                source = stage_source(bundle, stage, self.backend, self.precision, performance=performance)
                opened = backend.open_cached(source) if cached else backend.open_stage(source)
                if opened is not None:
                    self._stages[stage] = opened

    def detect(self, video: Video | ThermalArray | Path | str) -> list[Detection]:
        """Detections in a recording (a path, an array, or frames already read), in order of class, then time.

        A path may be of any length: see `analyse`.
        """
        self._check_open()
        if not isinstance(video, Video):
            return self.analyse(video).detections
        return detections_in(self.bundle, [(part, self.scores(frames)) for part, frames in video.clips])

    def analyse(
        self,
        path: Path | str | ThermalArray,
        fps: float | None = None,
        on_frames: Callable[[int], None] | None = None,
        resample: bool = True,
        strict: bool = False,
        invert: bool = False,
    ) -> Analysis:
        """Scores and detections of a recording of any length, in constant memory.

        A recording without a pause has the scores of `scores(read(path).frames)`; each part of another is a clip of its
        own. Frames are decoded as needed. Features are stored in temporary files: 1 kB per frame at the published
        width. on_frames: called with the number of processed frames. resample, strict, invert: as for `read`.
        Raises as `read`.
        """
        self._check_open()
        scored: list[tuple[Part, np.ndarray]] = []
        with BlockReader(path, self.preparation(resample, invert), fps, MIN_FRAMES, strict) as stream:
            for blocks in stream.clips():
                before = sum(len(part.times_s) for part, _ in scored)
                with self._stored_features(blocks, before, on_frames) as features:
                    part = stream.parts[len(scored)]
                    scored.append((part, self.scores_of(features, len(part.times_s))))
        assert stream.fps is not None
        found, scores = detections_in(self.bundle, scored), np.concatenate([scores for _, scores in scored])
        return Analysis(stream.name, stream.frames, stream.fps, scores, found, tuple(stream.notes), tuple(stream.parts))

    @contextmanager
    def _stored_features(
        self, blocks: Iterator[np.ndarray], before: int, on_frames: Callable[[int], None] | None
    ) -> Iterator[dict[str, DiskArray]]:
        """The features of a part in temporary files. before: frames of earlier parts, for `on_frames`."""
        with ExitStack() as files:
            stored = {tower: files.enter_context(closing(DiskArray())) for tower in self._towers()}
            long, size = False, max(GROUP_CHUNKS, self.concurrency)
            parts = clip_chunks(blocks, self.chunk_snippets)
            while group := list(islice(parts, size)):
                long = long or len(group) == size
                # One tower after the other, so that only one has its layers' outputs in memory.
                for tower, array in stored.items():
                    for rows in self._each(tower, group, None):
                        array.append(rows)
                    if long:
                        self._release_memory()
                if on_frames:
                    on_frames(before + FRAMES_PER_SNIPPET * min(map(len, stored.values())))
            yield {features_name(tower): array for tower, array in stored.items()}

    def preparation(self, resample: bool = True, invert: bool = False) -> Preparation:
        """The steps from a recording to this network's frames; resample, invert: as for `read`."""
        steps = replace(self.bundle.preparation, invert=invert)
        return steps if resample else replace(steps, trained_fps=None)

    def read(
        self,
        path: Path | str | ThermalArray,
        fps: float | None = None,
        resample: bool = True,
        strict: bool = False,
        invert: bool = False,
    ) -> Video:
        """Read a recording as frames for this network. Raises VideoError if it cannot be read or is too short.

        resample: interpolate a recording to the rate of the training clips where it differs by more than a tenth or
        where frames are not evenly spaced. strict, invert: as for `read_video`.
        """
        self._check_open()
        return read_prepared(path, self.preparation(resample, invert), fps, MIN_FRAMES, strict)

    def detections(self, scores: np.ndarray, frames: int, fps: float) -> list[Detection]:
        """Scores [T', C] of a clip of `frames` frames → its detections.

        A recognition network gives one: the class with the highest mean score, over the whole clip.
        """
        self._check_open()
        return detections_of(self.bundle, scores, frames, fps)

    def scores(self, frames: np.ndarray, timings: Timings | None = None) -> np.ndarray:
        """frames uint8 [T, S, S], T ≥ 16 → scores float32 [T', C] in (0, 1), a row for every 8 frames.

        At most 3 frames at the end are dropped, so that T is a multiple of 4. timings: a dict to which the seconds
        spent in each stage are added.
        """
        return self.scores_of(self.features(frames, timings), len(frames), timings)

    def scores_of(
        self, features: Mapping[str, np.ndarray | DiskArray], frames: int, timings: Timings | None = None
    ) -> np.ndarray:
        """The features of a clip of `frames` frames, as from `features` → its scores, as from `scores`.

        More than `HEAD_SNIPPETS` are computed block by block, which changes scores only by rounding.
        """
        what, length = f"{self.backend} {self.precision}", valid_length(frames)
        with clock(timings, "head"):
            head = self._head_in_parts() if len(next(iter(features.values()))) > HEAD_SNIPPETS else None
            if head is None:
                whole = {name: rows[:] for name, rows in features.items()}
                return head_scores(self.stages["head"], whole, length, what)
            from infdet_deploy.runtime.long_head import long_scores

            self._release_memory()
            rows = len(next(iter(features.values())))
            return checked_scores(long_scores(head, features, length), rows, what)

    def _head_in_parts(self) -> Path | None:
        """The head's ONNX file, of which OpenVINO can run parts; None if the bundle has none."""
        precision = self.precision if get_backend("openvino").supports(self.precision) else "float32"
        try:
            return self.bundle.file_for(self.backend, "head", precision)
        except UsageError:
            return None

    def features(self, frames: np.ndarray, timings: Timings | None = None) -> dict[str, np.ndarray]:
        """frames uint8 [T, S, S] → `infrared_features`, `flow_features` or both, float32 [T', d] each."""
        self._check_open()
        size = self.bundle.size
        if frames.dtype != np.uint8 or frames.ndim != 3 or frames.shape[1:] != (size, size):
            raise InfdetError(f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [T, {size}, {size}]")
        if len(frames) < MIN_FRAMES:
            raise VideoError(f"clip has {len(frames)} frames; at least {MIN_FRAMES} are needed")
        parts = list(clip_chunks([np.ascontiguousarray(frames)], self.chunk_snippets))
        return {
            features_name(tower): np.concatenate(list(self._each(tower, parts, timings))) for tower in self._towers()
        }

    def _towers(self) -> list[str]:
        return [stage for stage in self.bundle.stages if stage in TOWERS]

    def _each(self, tower: str, parts: list[Chunk], timings: Timings | None) -> Iterator[np.ndarray]:
        """A tower's features of each chunk, in order; `concurrency` chunks are computed at the same time."""
        if self.concurrency == 1 or len(parts) == 1:
            yield from (self._chunk_features(tower, part, timings) for part in parts)
            return
        with ThreadPoolExecutor(self.concurrency) as threads:
            yield from threads.map(self._chunk_features, repeat(tower), parts, repeat(timings))

    def _chunk_features(self, tower: str, chunk: Chunk, timings: Timings | None) -> np.ndarray:
        feeds = {"frames": chunk.frames[: chunk.count]}
        if tower == "flow_tower":
            with clock(timings, "fen"):
                feeds = {"flow": self._flow(chunk.frames, 0, chunk.count)}
        with clock(timings, tower):
            return self.stages[tower].run(feeds)["features"][chunk.keep]

    def _release_memory(self) -> None:
        """Free the memory that stages keep between runs; the next run allocates it again."""
        for stage in self.stages.values():
            stage.release_memory()
        trim_memory()

    def flow(self, frames: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Flow float32 [stop−start, c, h, w] of frames start … stop−1; a clip's last frame has zero flow."""
        fen = self.stages["fen"]
        ends = [(first, min(first + FEN_BLOCK, stop)) for first in range(start, stop, FEN_BLOCK)]
        flow = np.concatenate([fen.run({"frames": _with_next(frames, *block)})["flow"] for block in ends])
        if stop == len(frames):
            flow[-1] = 0
        return flow

    def _flow(self, frames: np.ndarray, start: int, stop: int) -> Any:
        """As `flow`; a backend that computes on the GPU leaves it there, in one array."""
        if not get_backend(self.backend).capabilities.on_gpu:
            return self.flow(frames, start, stop)
        flow = self.stages["fen"].run_on_device({"frames": _with_next(frames, start, stop)})["flow"]
        if stop == len(frames):
            flow[stop - start - 1 :].clear()
        return flow


def _with_next(frames: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Frames start … stop−1 and the next one. At the clip's end the last is repeated; its flow is then replaced."""
    block = frames[start : stop + 1]
    return block if stop < len(frames) else np.concatenate((block, block[-1:]))


@contextmanager
def clock(timings: Timings | None, stage: str) -> Iterator[None]:
    """Add the seconds spent in the block to `timings[stage]`."""
    start = time.perf_counter()
    yield
    if timings is not None:
        timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start
