"""The paper's ablation study on a data set."""

import dataclasses
from pathlib import Path
from typing import Any

from infdet_deploy.console import progress, say
from infdet_deploy.errors import UsageError
from infdet_deploy.training.running import SYNTHETIC, make_synthetic


def ablate(
    data: Path | None,
    preset_name: str,
    out: Path,
    weights: Path | None,
    chosen: dict[str, Any],
    only: list[str],
) -> dict[str, Any]:
    """Run the rows, all or those in `only`; write `ablation.json` and `ablation.md` into `out`; give the report back.

    chosen: fields of the training's configuration.
    """
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.files import whole_file, write_json
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.training.ablation import Row, choose, markdown, report, run_rows
    from infdet_deploy.training.distributed import asked_world
    from infdet_deploy.training.loop import Progress
    from infdet_deploy.training.settings import TrainConfig

    if asked_world().size > 1:
        raise UsageError("ablate runs in one process; give several machines rows of their own with --only")
    asked = choose(only)
    config = TrainConfig.from_json(chosen)
    initial = None if weights is None else load_network(weights)[0]
    base = preset(preset_name) if initial is None else initial.config
    if data is None:
        data = SYNTHETIC
        make_synthetic(data)
    base = dataclasses.replace(base, classes=open_dataset(data).classes)
    found: list[tuple[Row, dict[str, Any]]] = []
    with progress("") as update:

        def show(row: Row, now: Progress) -> None:
            done = f"row {len(found) + 1}/{len(asked)} {row.name}"
            update(now.step, now.steps, f"{done}: {now.phase}")

        for row, result in run_rows(data, out, base, config, asked, initial, show):
            found.append((row, result))
            say(f"{row.name}: mAP@0.5 {100 * result['map']['0.5']:.2f} (paper {row.paper:.2f}), {out / row.name}")
    rows = report(found)
    text = markdown(rows)
    whole = {
        "data": str(data),
        "preset": preset_name,
        "steps": config.steps,
        "seed": config.seed,
        "rows": rows,
        "markdown": text,
    }
    write_json(out / "ablation.json", whole)
    with whole_file(out / "ablation.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return whole
