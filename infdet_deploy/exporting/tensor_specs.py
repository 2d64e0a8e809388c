"""Names, dtypes and shapes of every stage's tensors: one definition for all formats, reports and backends."""

from infdet_deploy.bundle.loading import NETWORK
from infdet_deploy.bundle.schema import STAGES_OF, StageSpec, TensorSpec
from infdet_deploy.model.network import InfDetNet

NEXT = "next."  # the output NEXT + NAME of an incremental tower is the input NAME of the next step


def stage_specs(network: InfDetNet) -> dict[str, StageSpec]:
    """The specs of this network's stages and of `network`, all stages in one graph."""
    config = network.config
    size, small, d = config.size, config.flow_size, config.features
    flow = TensorSpec("flow", "float32", ("T", config.flow_channels, small, small))
    frames = TensorSpec("frames", "uint8", ("T", size, size))
    features = TensorSpec("features", "float32", ("T'", d))
    streams = {"both": ("infrared", "flow")}.get(config.streams, (config.streams,))
    head_inputs = (
        *(TensorSpec(f"{stream}_features", "float32", ("T'", d)) for stream in streams),
        TensorSpec("length", "int64", (1,)),
    )
    scores = TensorSpec("scores", "float32", ("T'", len(config.classes)))
    specs = {
        "fen": StageSpec((TensorSpec("frames", "uint8", ("T+1", size, size)),), (flow,)),
        "infrared_tower": StageSpec((frames,), (features,)),
        "flow_tower": StageSpec((flow,), (features,)),
        "head": StageSpec(head_inputs, (scores,)),
        NETWORK: StageSpec((frames,), (scores,)),
    }
    return {name: specs[name] for name in (*STAGES_OF[config.streams], NETWORK)}
