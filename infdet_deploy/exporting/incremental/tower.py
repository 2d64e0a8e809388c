"""Incremental towers for live video: (frames, state) → (features, state), each frame computed once.

A step brings 8n frames. A layer that reads neighbours in time can only compute outputs whose inputs have all arrived,
so it lags behind its input. Its state is the last inputs, which later outputs read again. Example: the infrared tower's
first layer (kernel 7, stride 2; output j reads frames 2j−2 … 2j+4, with zeros around the clip). After the first 8
frames, 0–7:

    computed   outputs 0 and 1, since output 2 reads frame 8      8/2 − 2 outputs: it lags by 2
    kept       frames 2–7, since output 2 reads from frame 2      6 inputs are the layer's state

After 16 frames it has computed outputs 0–5, again 2 fewer than 16/2, and keeps frames 10–15. The next layer's input
therefore lags by 2, and so on through the tower; `layer_after` computes both numbers for any layer.

In the whole clip every layer sees zeros outside the clip, not features of zero frames. So each layer here sets its
inputs outside the clip to zero; the input `inside` marks them. The layers are `LAYERS_2D`, or those of `layers_3d.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from infdet_deploy.bundle.schema import StageSpec, TensorSpec
from infdet_deploy.exporting.incremental.layers_3d import INCREMENTAL_LAYERS_3D
from infdet_deploy.exporting.stages.build import build_tower
from infdet_deploy.exporting.stages.neighbours import TemporalContext
from infdet_deploy.exporting.stages.tower import LAYERS_2D, FoldedMixed, FoldedTower
from infdet_deploy.exporting.tensors import NEXT
from infdet_deploy.model.i3d import ENDPOINTS, POOLS
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.snippets import FRAMES_PER_SNIPPET


@dataclass(frozen=True)
class LayerTiming:
    """What a layer has read and computed once P frames of a clip have arrived, P a multiple of 8.

    frames_per_input: frames of the clip per input. input_lag: inputs [0, P/frames_per_input − input_lag) have arrived.
    output_lag: how many of the outputs for these P frames it has not computed yet. kept: number of its last inputs that
    later outputs read again.
    """

    frames_per_input: int
    input_lag: int
    output_lag: int
    kept: int


def layer_after(frames_per_input: int, input_lag: int, kernel: int, stride: int) -> LayerTiming:
    """The timing of a layer with this kernel and stride; it pads a clip with `kernel − stride` zeros in total."""
    before = (kernel - stride) // 2
    # With P = 0: output j reads inputs j·stride − before … + kernel − 1, all of which must lie before −input_lag.
    first_missing = (before - input_lag - kernel) // stride + 1
    kept = before - first_missing * stride - input_lag
    return LayerTiming(frames_per_input, input_lag, -first_missing, kept)


@dataclass(frozen=True)
class Schedule:
    """The timing of a tower's layers.

    layers: by name, in data order. features_lag: P/8 minus the number of features computed. history: number of frames
    before the step that the input `inside` covers.
    """

    layers: Mapping[str, LayerTiming]
    features_lag: int
    history: int


def schedule(tower: FoldedTower, input_lag: int) -> Schedule:
    """Compute a tower's schedule. input_lag: frames by which its input lags behind the clip."""
    layers: dict[str, LayerTiming] = {}
    frames_per_input, lag, history = 1, input_lag, input_lag
    for name in ENDPOINTS:
        module: Any = getattr(tower, name, None)  # None for a pool
        if name in POOLS:
            kernel, stride = (sizes[0] for sizes in POOLS[name])
        else:
            kernel, stride = (3, 1) if isinstance(module, FoldedMixed) else (module.kernel, module.stride)
        if kernel == 1:
            continue
        layer = layer_after(frames_per_input, lag, kernel, stride)
        if isinstance(module, FoldedMixed):
            # b0 reads no neighbours and waits for the other branches.
            layers[f"{name}.b0"] = LayerTiming(frames_per_input, lag, layer.output_lag, layer.output_lag - lag)
            layers |= {f"{name}.{branch}": layer for branch in ("b1b", "b2b", "pool")}
        else:
            layers[name] = layer
        history = max(history, frames_per_input * lag)
        frames_per_input, lag = frames_per_input * stride, layer.output_lag
    layers["mean"] = layer_after(frames_per_input, lag, 2, 1)
    return Schedule(layers, layers["mean"].output_lag, history)


class StepContext(TemporalContext):
    """One step: reads earlier inputs from `states` and collects inputs for the next step in `next_states`.

    inside: float32 [history + N], up to the step's last frame: 1 inside the clip, else 0. states: float32 by layer;
    zeros for a layer without one.
    """

    def __init__(self, schedule: Schedule, inside: Tensor, states: Mapping[str, Tensor]) -> None:
        self.schedule, self.inside, self.states = schedule, inside, states
        self.next_states: dict[str, Tensor] = {}

    def mask(self, frames_per_input: int, input_lag: int) -> Tensor:
        """[n, 1, 1, 1]: 1 for each of a layer's new inputs that lies inside the clip, else 0.

        The first frame of an input decides, so a clip may end anywhere.
        """
        late = frames_per_input * input_lag
        return self.inside[self.schedule.history - late : -late or None : frames_per_input, None, None, None]

    def _with_kept(self, layer: str, x: Tensor) -> Tensor:
        """The inputs kept from earlier steps, then x."""
        kept = self.schedule.layers[layer].kept
        if not kept:
            return x
        before = self.states[layer].to(x.dtype) if layer in self.states else x.new_zeros(kept, *x.shape[1:])
        both = torch.cat((before, x))
        self.next_states[layer] = both[-kept:].float()
        return both

    def window(self, layer: str, x: Tensor) -> Tensor:
        """The kept inputs, then x, with zeros for inputs outside the clip."""
        timing = self.schedule.layers[layer]
        return self._with_kept(layer, x * self.mask(timing.frames_per_input, timing.input_lag).to(x.dtype))

    def taps(self, layer: str, x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
        # States are zero where a clip begins, so they contain differences from the value outside.
        x = x - outside if outside else x
        window = self.window(layer, x)
        window = window + outside if outside else window
        # As in `temporal_taps`, ends counted from the back are constants in the graph.
        kept = self.schedule.layers[layer].kept
        return [window[tap : tap + 1 - stride - kept or None : stride] for tap in range(kernel)]

    def align(self, layer: str, x: Tensor) -> Tensor:
        return self._with_kept(layer, x)[: -self.schedule.layers[layer].kept]

    def pairs(self, layer: str, x: Tensor) -> list[Tensor]:
        both = self._with_kept(layer, x)
        return [both[:-1], both[1:]]


class IncrementalTower(nn.Module):
    """An incremental tower; `state_names` are the layers that keep state, in the order of the states.

    Its input is frames uint8 [N, S, S] or, with `of_flow`, flow float32 [N, c, h, w]. Flow goes from a frame to the
    next one, so the last frame has no flow yet: the input lags by 1. The infrared tower's stem waits one frame longer
    than it needs, so both towers compute a feature in the same step.
    """

    def __init__(self, tower: FoldedTower, of_flow: bool) -> None:
        super().__init__()
        self.tower, self.of_flow = tower, of_flow
        self.schedule = schedule(tower, input_lag=1 if of_flow else 0)
        self.state_names = tuple(name for name, layer in self.schedule.layers.items() if layer.kept)

    def _step(self, x: Tensor, context: StepContext) -> Tensor:
        # The clip's last frame has zero flow: flow is inside the clip where its second frame is.
        x = x * context.mask(1, 0) if self.of_flow else x.float()[:, None]
        features: Tensor = self.tower(x, context)
        return features

    def forward(self, x: Tensor, inside: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of N = 8n frames → features float32 [N/8, d], and the states for the next step.

        After P frames, including this step's, the features end before feature P/8 − features_lag of the clip. The
        caller drops features before the clip's first and after its last.
        """
        context = StepContext(self.schedule, inside, dict(zip(self.state_names, states, strict=True)))
        features = self._step(x, context)
        return features, tuple(context.next_states[name] for name in self.state_names)

    def first_states(self, x: Tensor) -> tuple[Tensor, ...]:
        """The states at the start of a clip, all zeros; x: any 8 frames of the stage's input."""
        context = StepContext(self.schedule, x.new_zeros(self.schedule.history + len(x), dtype=torch.float32), {})
        self._step(x, context)
        return tuple(torch.zeros_like(context.next_states[name]) for name in self.state_names)


def build_incremental_tower(
    tower: str, network: InfDetNet, dtype: torch.dtype, starts: Mapping[str, str] = {}, in_3d: bool = False
) -> IncrementalTower:
    """A network's incremental `infrared_tower` or `flow_tower`, in eval mode; dtype, starts: as for `build_stage`.

    in_3d: with the 3D operators of `layers_3d.py`.
    """
    layers = INCREMENTAL_LAYERS_3D if in_3d else LAYERS_2D
    with torch.no_grad():
        folded = build_tower(tower, network, dtype, starts.get(tower, ENDPOINTS[0]), layers)
    return IncrementalTower(folded, of_flow=tower == "flow_tower").eval().requires_grad_(False)


def incremental_spec(stage: IncrementalTower, network: InfDetNet) -> StageSpec:
    """An incremental tower's tensors: a step has 8n frames; `next.NAME` is the next value of state NAME."""
    config = network.config
    if stage.of_flow:
        x = TensorSpec("flow", "float32", ("8n", config.flow_channels, config.flow_size, config.flow_size))
    else:
        x = TensorSpec("frames", "uint8", ("8n", config.size, config.size))
    named = zip(stage.state_names, stage.first_states(zeros(x, FRAMES_PER_SNIPPET)), strict=True)
    before = tuple(TensorSpec(name, "float32", tuple(state.shape)) for name, state in named)
    after = tuple(TensorSpec(NEXT + state.name, state.dtype, state.shape) for state in before)
    inside = TensorSpec("inside", "float32", (f"8n+{stage.schedule.history}",))
    return StageSpec((x, inside, *before), (TensorSpec("features", "float32", ("n", config.features)), *after))


def zeros(tensor: TensorSpec, length: int) -> Tensor:
    """Zeros for an input; `length` stands for a first dimension that varies."""
    first, *others = tensor.shape
    sizes = (length if isinstance(first, str) else first, *map(int, others))
    return torch.zeros(*sizes, dtype=getattr(torch, tensor.dtype))
