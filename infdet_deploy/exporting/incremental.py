"""The towers as steps over a clip that is still arriving: (frames, state) → (features, state), no frame computed twice.

A step brings 8n frames. A layer that looks at its neighbours in time answers as far as it has seen what comes after,
which puts every layer a little behind the one before it, and keeps its last inputs for the next step: its state. The
whole clip has zeros around it in every layer, and not what a layer makes of zero frames; so each of these layers takes
as zero what lies outside the clip, as the input `inside` says. Modules and weights are those of `conv2d.py`; where 3D
operators are wanted, `conv3d_steps.py` has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from infdet_deploy.exporting.conv2d import Mixed2d, Tower2d
from infdet_deploy.exporting.conv3d_steps import UnitStep3d, max_pool_step_3d
from infdet_deploy.exporting.stages import FoldedTower, StageSpec, TensorSpec, build_stage
from infdet_deploy.model.i3d import ENDPOINTS, POOLS
from infdet_deploy.model.network import InfDetNet
from infdet_deploy.snippets import FRAMES_PER_SNIPPET


@dataclass(frozen=True)
class Layer:
    """A layer that looks at its neighbours in time, when frames 0 … P−1 of a clip have come, P in steps of 8.

    rate: frames of the clip for one of its inputs. lag: it has had its inputs before number P/rate − lag. given: it has
    given its outputs before number P/(rate·stride) − given. kept: how many of its last inputs it needs once more.
    """

    rate: int
    lag: int
    stride: int
    given: int
    kept: int


def layer_after(rate: int, lag: int, kernel: int, stride: int) -> Layer:
    """A layer with this kernel and stride on inputs of this rate and lag; `kernel − stride` zeros lie around a clip."""
    before = (kernel - stride) // 2
    # Output j sees inputs from j·stride − before on, the last of which must be before −lag (with P = 0).
    given = -((before - lag - kernel) // stride) - 1
    return Layer(rate, lag, stride, given, given * stride + before - lag)


@dataclass(frozen=True)
class Schedule:
    """Where all layers of a tower lie in time. layers: by name, in the order of the data; features_lag: how many
    features it is behind P/8; history: how many frames before a step's own `inside` must tell of."""

    layers: Mapping[str, Layer]
    features_lag: int
    history: int


def schedule(tower: Tower2d, lag: int) -> Schedule:
    """lag: how many frames the tower's input is behind the frames that have come."""
    layers: dict[str, Layer] = {}
    rate, history = 1, lag
    for name in ENDPOINTS:
        module = None if name in POOLS else getattr(tower, name)
        if module is None:
            kernel, stride = (sizes[0] for sizes in POOLS[name])
        else:
            kernel, stride = (3, 1) if isinstance(module, Mixed2d) else (module.kernel, module.stride)
        if kernel == 1:
            continue
        layer, history = layer_after(rate, lag, kernel, stride), max(history, rate * lag)
        if isinstance(module, Mixed2d):
            # b0 looks at no neighbours and has to wait for the others.
            layers[f"{name}.b0"] = Layer(rate, lag, 1, layer.given, layer.given - lag)
            layers |= {f"{name}.{branch}": layer for branch in ("b1b", "b2b", "pool")}
        else:
            layers[name] = layer
        rate, lag = rate * stride, layer.given
    layers["mean"] = layer_after(rate, lag, 2, 1)
    return Schedule(layers, layers["mean"].given, history)


class Step:
    """The `Time` of one step: what came before it out of `states`, what the next one needs into `next`.

    inside: float32 [history + N], for each frame up to the step's last whether it is inside the clip, 1 or 0. states:
    by layer, float32; zeros where there is none.
    """

    def __init__(self, plan: Schedule, inside: Tensor, states: Mapping[str, Tensor]) -> None:
        self.plan, self.inside, self.states = plan, inside, states
        self.next: dict[str, Tensor] = {}

    def mask(self, rate: int, lag: int) -> Tensor:
        """[n, 1, 1, 1]: 1 for those of a layer's new inputs that lie inside the clip, 0 for the others.

        The first frame that an input stands for decides, so a clip may end anywhere.
        """
        late = rate * lag
        return self.inside[self.plan.history - late : -late or None : rate, None, None, None]

    def _seen(self, layer: str, x: Tensor) -> Tensor:
        """x after the inputs kept from earlier steps."""
        kept = self.plan.layers[layer].kept
        if not kept:
            return x
        before = self.states[layer].to(x.dtype) if layer in self.states else x.new_zeros(kept, *x.shape[1:])
        seen = torch.cat((before, x))
        self.next[layer] = seen[-kept:].float()
        return seen

    def taps(self, layer: str, x: Tensor, kernel: int, stride: int = 1, outside: float = 0.0) -> list[Tensor]:
        # States are zero where a clip begins, so they hold how far a value is from what lies outside.
        x = x - outside if outside else x
        seen = self.around(layer, x)
        seen = seen + outside if outside else seen
        # As in `temporal_taps`, ends counted from the back are constants in the graph.
        kept = self.plan.layers[layer].kept
        return [seen[tap : tap + 1 - stride - kept or None : stride] for tap in range(kernel)]

    def around(self, layer: str, x: Tensor) -> Tensor:
        """x, with zeros for what lies outside the clip, after the inputs kept."""
        at = self.plan.layers[layer]
        return self._seen(layer, x * self.mask(at.rate, at.lag).to(x.dtype))

    def level(self, layer: str, x: Tensor) -> Tensor:
        return self._seen(layer, x)[: -self.plan.layers[layer].kept]

    def pairs(self, layer: str, x: Tensor) -> list[Tensor]:
        seen = self._seen(layer, x)
        return [seen[:-1], seen[1:]]


class TowerStream(nn.Module):
    """A tower as steps; `state_names` are the layers that keep state, in the order of the states."""

    lag = 0  # how many frames its input is behind the frames that have come

    def __init__(self, tower: Tower2d) -> None:
        super().__init__()
        self.tower = tower
        self.plan = schedule(tower, self.lag)
        self.state_names = tuple(name for name, layer in self.plan.layers.items() if layer.kept)

    def step(self, x: Tensor, step: Step) -> Tensor:
        """The stage's input as the tower takes it, through the tower."""
        raise NotImplementedError

    def forward(self, x: Tensor, inside: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step of N = 8n frames: → N/8 features, and the states for the next.

        The features are those before number P/8 − features_lag of the clip, after P frames with this step's; what is
        no feature of the clip, at either end, is for the caller to leave out.
        """
        step = Step(self.plan, inside, dict(zip(self.state_names, states, strict=True)))
        features = self.step(x, step)
        return features, tuple(step.next[name] for name in self.state_names)

    def first_states(self, x: Tensor) -> tuple[Tensor, ...]:
        """The states of a clip that begins, all zeros; x: any 8 frames as the stage takes them."""
        step = Step(self.plan, x.new_zeros(self.plan.history + len(x), dtype=torch.float32), {})
        self.step(x, step)
        return tuple(torch.zeros_like(step.next[name]) for name in self.state_names)


class InfraredTowerStream(TowerStream):
    """frames uint8 [N, S, S], inside, states → features float32 [N/8, d], states."""

    def step(self, x: Tensor, step: Step) -> Tensor:
        return self.tower(x.float()[:, None], step)


class FlowTowerStream(TowerStream):
    """flow float32 [N, c, h, w], inside, states → features float32 [N/8, d], states.

    Flow leads from a frame to the next one, so its last one is that of the last frame but one: `lag` is 1. The stem of
    the infrared tower has a frame in reserve, so both towers still give a feature in the same step.
    """

    lag = 1

    def step(self, x: Tensor, step: Step) -> Tensor:
        # The clip's last frame has no next one, and zero flow: flow is inside where its second frame is.
        return self.tower(x * step.mask(1, 0), step)


def build_tower_stream(
    tower: str, network: InfDetNet, dtype: torch.dtype, begins: Mapping[str, str] = {}, in_3d: bool = False
) -> TowerStream:
    """A network's `infrared_tower` or `flow_tower` as steps, in eval mode; dtype and begins as for `build_stage`.

    in_3d: with the 3D operators of `conv3d_steps.py`.
    """
    folded = build_stage(tower, network, dtype, begins).tower
    assert isinstance(folded, FoldedTower)
    layers = Tower2d(folded, UnitStep3d, max_pool_step_3d) if in_3d else Tower2d(folded)
    steps = (InfraredTowerStream if tower == "infrared_tower" else FlowTowerStream)(layers)
    return steps.eval().requires_grad_(False)


def stream_spec(stage: TowerStream, network: InfDetNet) -> StageSpec:
    """The tensors of a tower as steps; 8n is the number of a step's frames, `next.NAME` the state that follows NAME."""
    config = network.config
    if isinstance(stage, InfraredTowerStream):
        x = TensorSpec("frames", "uint8", ("8n", config.size, config.size))
    else:
        x = TensorSpec("flow", "float32", ("8n", config.flow_channels, config.flow_size, config.flow_size))
    named = zip(stage.state_names, stage.first_states(example(x, FRAMES_PER_SNIPPET)), strict=True)
    before = tuple(TensorSpec(name, "float32", tuple(state.shape)) for name, state in named)
    after = tuple(TensorSpec(f"next.{state.name}", state.dtype, state.shape) for state in before)
    inside = TensorSpec("inside", "float32", (f"8n+{stage.plan.history}",))
    return StageSpec((x, inside, *before), (TensorSpec("features", "float32", ("n", config.features)), *after))


def example(tensor: TensorSpec, frames: int) -> Tensor:
    """Zeros for an input whose first size varies."""
    return torch.zeros(frames, *map(int, tensor.shape[1:]), dtype=getattr(torch, tensor.dtype))
