"""Bringing published weights in."""

import dataclasses
from pathlib import Path
from typing import Any

from infdet_deploy.errors import UsageError


def import_weights(
    checkpoint: Path, out: Path, labels: tuple[str, ...] | None, tower: str | None, into: Path | None
) -> Any:
    """Write a foreign checkpoint as ours; returns the report."""
    from infdet_deploy.model.presets import ModelConfig, preset
    from infdet_deploy.model.weights import (
        import_upstream,
        load_kinetics,
        load_network,
        random_network,
        read_state_dict,
        save_network,
    )

    if out.suffix != ".safetensors":
        raise UsageError(f"--out is {out}; weights are written as NAME.safetensors")
    if tower not in (None, "infrared", "flow"):
        raise UsageError(f"--tower is '{tower}', expected infrared or flow")
    state = read_state_dict(checkpoint)
    if tower is None:
        if "Conv3d_1a_7x7.conv3d.weight" in state:
            raise UsageError(f"{checkpoint} is one I3D tower; say which with --tower infrared or --tower flow")
        network, report = import_upstream(state, labels)
        save_network(out, network, network.config, {"source": checkpoint.name})
        return report
    extra: dict[str, Any] = {"source": checkpoint.name}
    if into is not None:
        network, extra = load_network(into)
    else:
        channels = state["Conv3d_1a_7x7.conv3d.weight"].shape[1] if "Conv3d_1a_7x7.conv3d.weight" in state else 3
        config: ModelConfig = preset("infdet")
        config = dataclasses.replace(
            config,
            classes=labels or config.classes,
            flow_channels=channels if tower == "flow" else config.flow_channels,
        )
        network = random_network(config)
    part = network.flow_tower if tower == "flow" else network.infrared_tower
    if part is None:
        raise UsageError(f"the network has no {tower} tower; name a checkpoint that has one")
    report = load_kinetics(part, state)
    save_network(out, network, network.config, extra)
    return report
