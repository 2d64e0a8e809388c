"""Features of a clip while its frames arrive: equal to those of the whole clip, no frame computed twice. No torch.

`StreamModel` compiles the incremental towers once; each `FeatureStream` has the state of one clip. See
`exporting/incremental.py` for how the towers work.
"""

import threading
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from infdet_deploy.bundle.loading import Bundle, load_bundle
from infdet_deploy.bundle.schema import Incremental, StageEntry, features_name, stream_stage
from infdet_deploy.errors import BundleError, InfdetError, UsageError
from infdet_deploy.runtime.backends.base import CompiledStage
from infdet_deploy.runtime.backends.registry import get_backend
from infdet_deploy.runtime.compiled_stages import CompiledStages, open_bundle_stage
from infdet_deploy.snippets import FRAMES_PER_SNIPPET, MIN_FRAMES, STEP_FRAMES, feature_length

Features = dict[str, np.ndarray]
CHECK_STEPS = (8, 24)  # frames of the steps in `whole`, in turn


class TowerSteps:
    """An incremental tower on one clip, with its state between steps."""

    def __init__(self, stage: CompiledStage, spec: StageEntry, stream: Incremental) -> None:
        """stage: the compiled tower. spec, stream: the manifest's entries for this tower and for all towers."""
        self._stage = stage
        frames, inside, *states = spec.inputs
        self._frames, self._inside = frames.name, inside.name
        self._states = {state.name: np.zeros(_sizes(state.shape), np.float32) for state in states}
        self.width = _sizes(spec.outputs[0].shape[1:])[0]  # channels of a feature
        self._behind = int(self._frames == "flow")  # frames by which its input lags: flow needs the next frame
        self._history, self._lag = stream.history_frames, stream.features_lag
        self._fed = 0  # frames so far

    @property
    def state_bytes(self) -> int:
        return sum(state.nbytes for state in self._states.values())

    def step(self, x: np.ndarray, length: int | None = None) -> np.ndarray:
        """x: the next 8n frames (flow tower: flow, one frame behind) → the next features.

        length: frames of the clip, a multiple of 4, once it is known; the contents of later frames have no effect.
        """
        positions = np.arange(self._fed - self._history, self._fed + len(x))
        inside = (positions >= 0) & (positions < (self._fed + len(x) if length is None else length))
        found = self._stage.run({self._frames: x, self._inside: inside.astype(np.float32)} | self._states)
        self._states = {name: found[f"next.{name}"] for name in self._states}
        first = self._fed // FRAMES_PER_SNIPPET - self._lag
        self._fed += len(x)
        end = None if length is None else max(feature_length(length) - first, 0)
        return found["features"][max(-first, 0) : end]

    def whole(self, x: np.ndarray, steps: Sequence[int] = CHECK_STEPS) -> np.ndarray:
        """The features of a whole clip, on a new tower, to compare with those of the normal tower.

        x: that tower's input, T frames or flows, T a multiple of 4. steps: frames per step, in turn. Positions outside
        the clip, and the flow of its last frame, are fed ones: they must have no effect.
        """
        length, rows = len(x), []
        x = np.concatenate((np.ones_like(x[: self._behind]), x[: length - self._behind]))
        for frames in cycle(steps):
            if self.rest(length) <= 0:
                break
            part, x = x[:frames], x[frames:]
            filler = np.ones((frames - len(part), *part.shape[1:]), part.dtype)
            over = self._fed + frames >= length
            rows.append(self.step(np.concatenate((part, filler)), length if over else None))
        return np.concatenate(rows)

    def rest(self, length: int) -> int:
        """Frames still to be fed until a clip of this length has all its features."""
        return (feature_length(length) + self._lag) * FRAMES_PER_SNIPPET - self._fed


class StreamModel(CompiledStages):
    """The FEN and the incremental towers of a bundle, compiled once for any number of streams.

    step_frames: frames computed at once, a multiple of 8. Streams may run in different threads; their steps take turns.
    After `close` they raise InfdetError. Raises BundleError, BackendError or UsageError if the bundle has no
    incremental towers or the backend cannot run them.
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
                f"{self.bundle.path} has no incremental towers; export it again with infdet-deploy export RUN"
            )
        if step_frames < 1 or step_frames % stream.step_frames:
            raise UsageError(f"step_frames is {step_frames}, expected a multiple of {stream.step_frames}")
        if get_backend(backend).capabilities.format != "onnx":
            raise UsageError(f"{backend} does not run incremental towers, which are ONNX; use openvino or onnxruntime")
        self.lock = threading.Lock()
        for stage in self.bundle.stages:
            if stage != "head":
                name = stage if stage == "fen" else stream_stage(stage)
                shapes = self._shapes(name, stream.history_frames)
                self._stages[stage] = open_bundle_stage(self.bundle, name, backend, precision, shapes)

    def _shapes(self, stage: str, history: int) -> dict[str, tuple[int, ...]]:
        """The shapes of a stage's inputs in steps of `step_frames`."""
        sizes = {"T+1": self.step_frames + 1, "8n": self.step_frames, f"8n+{history}": self.step_frames + history}
        return {
            tensor.name: tuple(sizes[size] if isinstance(size, str) else size for size in tensor.shape)
            for tensor in self.bundle.entry(stage).inputs
        }

    @property
    def delay_frames(self) -> int:
        """Frames between the last frame of a feature and the feature, plus the wait until a step is full."""
        assert self.bundle.incremental is not None
        return self.bundle.incremental.delay_frames

    def stream(self) -> "FeatureStream":
        """A new stream, for one clip."""
        return FeatureStream(self)


class FeatureStream:
    """One clip in a `StreamModel`: frames in, features out as soon as they are final.

    The rows of all `push` and `flush` calls together equal `Detector.features` of the whole clip.
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
        # The last frame of the previous step, then those of this step: flow is from each frame to the next.
        self._frames = np.zeros((1 + step, size, size), np.uint8)
        self._waiting = 0  # frames of the next step so far
        self._stepped = 0  # frames that the towers have processed
        self._over = False

    @property
    def state_bytes(self) -> int:
        """Memory of this stream: the towers' state and the frames that wait for a step."""
        return sum(tower.state_bytes for tower in self._towers.values()) + self._frames.nbytes

    def push(self, frames: np.ndarray) -> Features:
        """The clip's next frames, uint8 [n, S, S] → new rows of `infrared_features`, `flow_features` or both.

        float32 [k, d] each, with the same k ≥ 0. Raises InfdetError after `flush`.
        """
        size = self._model.bundle.size
        if self._over:
            raise InfdetError("this stream was flushed; start a new one for more frames")
        if frames.dtype != np.uint8 or frames.ndim != 3 or frames.shape[1:] != (size, size):
            raise InfdetError(f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [n, {size}, {size}]")
        steps = []
        while len(frames):
            free = self._frames[1 + self._waiting :]
            taken = min(len(free), len(frames))
            free[:taken] = frames[:taken]
            frames, self._waiting = frames[taken:], self._waiting + taken
            if self._waiting == self._model.step_frames:
                steps.append(self._step(None))
        return self._joined(steps)

    def flush(self) -> Features:
        """End the clip: its remaining features, as from `push`. A clip of fewer than 16 frames has none.

        At most 3 frames at the end are dropped, so that the clip's length is a multiple of 4.
        """
        if self._over:
            raise InfdetError("this stream was already flushed")
        self._over = True
        length, steps = (self._stepped + self._waiting) // 4 * 4, []
        while length >= MIN_FRAMES and any(tower.rest(length) > 0 for tower in self._towers.values()):
            steps.append(self._step(length))
        return self._joined(steps)

    def _step(self, length: int | None) -> Features:
        """Run all stages on the step; frames past `length`, if given, have no effect."""
        found: Features = {}
        model = self._model
        with model.lock:
            for stage, tower in self._towers.items():
                infrared = stage == "infrared_tower"
                x = self._frames[1:] if infrared else model.stages["fen"].run({"frames": self._frames})["flow"]
                found[features_name(stage)] = tower.step(x, length)
        self._frames[0] = self._frames[-1]
        self._stepped, self._waiting = self._stepped + model.step_frames, 0
        return found

    def _joined(self, steps: list[Features]) -> Features:
        nothing = {features_name(s): np.zeros((0, tower.width), np.float32) for s, tower in self._towers.items()}
        return {name: np.concatenate([step[name] for step in (nothing, *steps)]) for name in nothing}


def _sizes(shape: Sequence[int | str]) -> tuple[int, ...]:
    """A shape whose dimensions do not vary."""
    return tuple(int(size) for size in shape)
