"""Judging detections and counting work."""

import dataclasses
from pathlib import Path
from typing import Any

from infdet_deploy.errors import UsageError


def evaluate(detections: Path, annotations: Path, protocol: str, subset: str | None) -> dict[str, Any]:
    """mAP of a detection file against annotations."""
    from infdet_deploy import metrics
    from infdet_deploy.annotations import read_class_ids, read_detections
    from infdet_deploy.datasets import open_dataset

    if protocol not in ("thumos14", "activitynet"):
        raise UsageError(f"--protocol is '{protocol}', expected thumos14 or activitynet")
    data = open_dataset(annotations)
    clips = data.clips if subset is None else data.subset(subset)
    if not clips:
        found = ", ".join(sorted({str(clip.subset) for clip in data.clips}))
        raise UsageError(f"{data.annotations}: no clip of subset '{subset}'; subsets there are {found}")
    ids = read_class_ids(data.annotations) if data.annotations.is_dir() else None
    return metrics.evaluate(clips, read_detections(detections, ids), protocol)  # type: ignore[arg-type]


def complexity(preset_name: str, frames: int) -> dict[str, Any]:
    """Parameters and multiply-adds of a preset beside the published figures."""
    from infdet_deploy.model.complexity import count, sca_per_snippet
    from infdet_deploy.model.presets import preset
    from infdet_deploy.snippets import MIN_FRAMES

    if frames < MIN_FRAMES:
        raise UsageError(f"--frames is {frames}; a clip needs at least {MIN_FRAMES}")
    config = preset(preset_name)
    rows = [dataclasses.asdict(row) for row in count(config, frames)]
    projected = count(dataclasses.replace(config, fen_projection=True), frames)[0].parameters
    published = {
        "fen": "3,345,091 parameters, 25.3 G; the paper: 3.41 M",
        "infrared_tower": "173.8 G",
        "flow_tower": "173.8 G",
        "sca": "1.53 G; the paper: 135 M per 8 frames",
        "classifier": "0.02 G",
    }
    per_snippet = sca_per_snippet(config)
    for row in rows:
        row["published"] = published[row["name"]] if preset_name == "infdet" else ""
    notes = (
        f"Published in all: 374.4 G. With the projection in layer4 the FEN has {projected:,} parameters (paper: "
        f"3,410,627). SCA takes {per_snippet / 1e6:.1f} M for one snippet of 8 frames."
    )
    return {
        "preset": preset_name,
        "frames": frames,
        "stages": rows,
        "parameters": sum(row["parameters"] for row in rows),
        "multiply_adds": sum(row["multiply_adds"] for row in rows),
        "fen_parameters_with_projection": projected,
        "sca_multiply_adds_per_snippet": per_snippet,
        "notes": notes,
    }
