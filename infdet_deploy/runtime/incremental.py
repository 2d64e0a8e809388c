"""Features of a clip that is still arriving: those of the whole clip, no frame computed twice. No torch.

`StreamModel` is compiled once; each of its `FeatureStream`s follows one clip and holds its state. What the towers'
steps are is told in `exporting/incremental.py`.
"""

import threading
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.schema import Incremental, StageEntry, stream_stage
from infdet_deploy.errors import BundleError, InfdetError, UsageError
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.stages import CompiledStages, open_bundle_stage
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES, STEP_FRAMES, feature_length

Features = dict[str, np.ndarray]
CHECK_STEPS = (8, 24)  # frames of the steps, in turn, in which `whole` feeds a clip


class TowerSteps:
    """One tower along one clip: what it is fed, and the state between its steps."""

    def __init__(self, stage: CompiledStage, spec: StageEntry, stream: Incremental) -> None:
        """stage: a tower's steps, compiled; spec: its tensors, stream: the manifest's entries for it and for all."""
        self._stage = stage
        frames, inside, *states = spec.inputs
        self._frames, self._inside, self._shape = frames.name, inside.name, _sizes(frames.shape[1:])
        self._states = {state.name: np.zeros(_sizes(state.shape), np.float32) for state in states}
        self.width = _sizes(spec.outputs[0].shape[1:])[0]  # channels of a feature
        self._behind = int(self._frames == "flow")  # frames that its input is behind those that have come
        self._history, self._lag = stream.history_frames, stream.features_lag
        self._came = 0

    @property
    def state_bytes(self) -> int:
        return sum(state.nbytes for state in self._states.values())

    def step(self, x: np.ndarray, length: int | None = None) -> np.ndarray:
        """x: the next 8n frames (of the flow tower: flow, one frame behind) → their clip's next features.

        length: frames of the clip, a multiple of 4, once it is known; frames from there on are of no meaning.
        """
        positions = np.arange(self._came - self._history, self._came + len(x))
        inside = (positions >= 0) & (positions < (self._came + len(x) if length is None else length))
        found = self._stage.run({self._frames: x, self._inside: inside.astype(np.float32)} | self._states)
        self._states = {name: found[f"next.{name}"] for name in self._states}
        first = self._came // FRAMES_PER_SNIPPET - self._lag
        self._came += len(x)
        end = None if length is None else max(feature_length(length) - first, 0)
        return found["features"][max(-first, 0) : end]

    def whole(self, x: np.ndarray, steps: Sequence[int] = CHECK_STEPS) -> np.ndarray:
        """The features of a clip in one go, on a tower that has seen nothing yet: to compare with the stage's.

        x: what the stage takes, T frames or flows, T a multiple of 4; steps: how many of them at a time, in turn. What
        lies outside the clip, the flow of its last frame as well, is fed as anything but zero.
        """
        length, rows = len(x), []
        x = np.concatenate((np.ones_like(x[: self._behind]), x[: length - self._behind]))
        for frames in cycle(steps):
            if self.rest(length) <= 0:
                break
            part, x = x[:frames], x[frames:]
            filler = np.ones((frames - len(part), *part.shape[1:]), part.dtype)
            over = self._came + frames >= length
            rows.append(self.step(np.concatenate((part, filler)), length if over else None))
        return np.concatenate(rows)

    def nothing(self, frames: int) -> np.ndarray:
        """What a step may be fed when all of its frames lie past the clip's end; of the flow tower, flow."""
        return np.zeros((frames, *self._shape), np.float32)

    def rest(self, length: int) -> int:
        """How many frames are still to be fed, in all, until a clip of this length has all of its features."""
        return (feature_length(length) + self._lag) * FRAMES_PER_SNIPPET - self._came


class StreamModel(CompiledStages):
    """The stages of a bundle that make features, compiled once for any number of streams.

    step_frames: frames computed at once, a multiple of 8. Streams may run in threads of their own; their steps take
    turns. After `close` they cannot go on. Raises BundleError, BackendError or UsageError when the bundle or the
    backend will not do.
    """

    def __init__(
        self,
        bundle: Bundle | Path | str,
        backend: str = "openvino",
        precision: str = "float32",
        step_frames: int = STEP_FRAMES,
    ) -> None:
        super().__init__()
        self.bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        self.backend, self.precision, self.step_frames = backend, precision, step_frames
        stream = self.bundle.incremental
        if stream is None:
            raise BundleError(
                f"{self.bundle.path} holds no towers that take a clip in steps; export it again with "
                "infdet-deploy export --stream"
            )
        if step_frames < 1 or step_frames % stream.step_frames:
            raise UsageError(f"step_frames is {step_frames}, expected a multiple of {stream.step_frames}")
        if get_backend(backend).capabilities.format != "onnx":
            raise UsageError(
                f"{backend} does not run the towers as steps, which are ONNX; take openvino or onnxruntime"
            )
        self.lock = threading.Lock()
        for stage in self.bundle.stages:
            if stage != "head":
                name = stage if stage == "fen" else stream_stage(stage)
                shapes = self._shapes(name, stream.history_frames)
                self._stages[stage] = open_bundle_stage(self.bundle, name, backend, precision, shapes)

    def _shapes(self, stage: str, history: int) -> dict[str, tuple[int, ...]]:
        """The shapes of a stage's inputs when all steps are of `step_frames`."""
        sizes = {"T+1": self.step_frames + 1, "8n": self.step_frames, f"8n+{history}": self.step_frames + history}
        return {
            tensor.name: tuple(sizes[size] if isinstance(size, str) else size for size in tensor.shape)
            for tensor in self.bundle.entry(stage).inputs
        }

    @property
    def delay_frames(self) -> int:
        """Features of frames 8j … 8j+15 come when frame 8j+15+delay_frames has; later by what a step waits to fill."""
        assert self.bundle.incremental is not None
        return self.bundle.incremental.delay_frames

    def stream(self) -> "FeatureStream":
        """A stream at the beginning of its clip."""
        return FeatureStream(self)


class FeatureStream:
    """One clip on its way through a `StreamModel`: frames in, features out as soon as they are certain.

    All rows of `push` and `flush` together are what `Detector.features` gives for the whole clip.
    """

    def __init__(self, model: StreamModel) -> None:
        stream = model.bundle.incremental
        assert stream is not None
        self._model = model
        size, step = model.bundle.size, model.step_frames
        self._towers = {
            stage: TowerSteps(compiled, model.bundle.entry(stream_stage(stage)), stream)
            for stage, compiled in model.stages.items()
            if stage != "fen"
        }
        # The last frame of the step before, then those of this one: flow leads from each to the next.
        self._frames = np.zeros((1 + step, size, size), np.uint8)
        self._waiting = 0  # frames of the next step that have come
        self._stepped = 0  # frames that have gone through the towers
        self._over = False

    @property
    def delay_frames(self) -> int:
        """As `StreamModel.delay_frames`."""
        return self._model.delay_frames

    @property
    def state_bytes(self) -> int:
        """Memory that this stream alone holds: the towers' state and the frames that wait for a step."""
        return sum(tower.state_bytes for tower in self._towers.values()) + self._frames.nbytes

    def push(self, frames: np.ndarray) -> Features:
        """The clip's next frames, uint8 [n, S, S] → new rows of `infrared_features` and `flow_features`, those that the
        network has, float32 [k, d] each, k ≥ 0 the same for both. Raises InfdetError after `flush`."""
        size = self._model.bundle.size
        if self._over:
            raise InfdetError("this stream is over: it was flushed; begin another one for more frames")
        if frames.dtype != np.uint8 or frames.ndim != 3 or frames.shape[1:] != (size, size):
            raise InfdetError(f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [n, {size}, {size}]")
        return self._collect(self._fill(frames))

    def flush(self) -> Features:
        """The clip is over: the rest of its features, as `push` gives them. A clip under 16 frames has none.

        At most 3 frames at the end are dropped, so that the clip's length is a multiple of 4.
        """
        if self._over:
            raise InfdetError("this stream is over: it was flushed before")
        self._over = True
        return self._collect(self._drain((self._stepped + self._waiting) // 4 * 4))

    def _fill(self, frames: np.ndarray) -> Iterator[Features]:
        while len(frames):
            free = self._frames[1 + self._waiting :]
            taken = min(len(free), len(frames))
            free[:taken] = frames[:taken]
            frames, self._waiting = frames[taken:], self._waiting + taken
            if self._waiting == self._model.step_frames:
                yield self._step(None)

    def _drain(self, length: int) -> Iterator[Features]:
        while length >= MIN_FRAMES and any(tower.rest(length) > 0 for tower in self._towers.values()):
            yield self._step(length)

    def _step(self, length: int | None) -> Features:
        """Through all stages with the frames waiting; what they leave of the step is of no meaning, past `length`."""
        found: Features = {}
        model = self._model
        with model.lock:
            for stage, tower in self._towers.items():
                if stage == "infrared_tower":
                    x = self._frames[1:]
                elif self._waiting:
                    x = model.stages["fen"].run({"frames": self._frames})["flow"]
                else:
                    x = tower.nothing(model.step_frames)
                found[_features(stage)] = tower.step(x, length)
        self._frames[0] = self._frames[-1]
        self._stepped, self._waiting = self._stepped + model.step_frames, 0
        return found

    def _collect(self, steps: Iterator[Features]) -> Features:
        parts = [{_features(s): np.zeros((0, tower.width), np.float32) for s, tower in self._towers.items()}, *steps]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _sizes(shape: Sequence[int | str]) -> tuple[int, ...]:
    """A shape without dimensions that vary."""
    return tuple(int(size) for size in shape)


def _features(tower: str) -> str:
    """How a tower's features are called: `infrared_features`."""
    return tower.replace("_tower", "_features")
