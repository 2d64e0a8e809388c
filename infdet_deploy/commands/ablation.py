"""The paper's ablation study on a data set."""

import dataclasses
from pathlib import Path
from typing import Any

from infdet_deploy.commands.training import CHUNK_SNIPPETS, SYNTHETIC, make_synthetic
from infdet_deploy.console import progress, say


def ablate(
    data: Path | None,
    preset_name: str,
    out: Path,
    steps: int | None,
    seed: int,
    weights: Path | None,
    whole_clips: bool,
    freeze_towers: bool,
    only: list[str],
) -> dict[str, Any]:
    """Run the rows, write `ablation.json` and `ablation.md` into `out`, and give the report back."""
    from infdet_deploy.datasets import open_dataset
    from infdet_deploy.files import whole_file, write_json
    from infdet_deploy.model.presets import preset
    from infdet_deploy.model.weights import load_network
    from infdet_deploy.training.ablation import ROWS, Row, choose, markdown, report, run_rows
    from infdet_deploy.training.loop import Progress
    from infdet_deploy.training.settings import TrainConfig

    chosen = choose(only)
    config = TrainConfig(seed=seed, chunk_snippets=CHUNK_SNIPPETS if whole_clips else 0, freeze_towers=freeze_towers)
    config = config if steps is None else dataclasses.replace(config, steps=steps)
    initial = None if weights is None else load_network(weights)[0]
    base = preset(preset_name) if initial is None else initial.config
    if data is None:
        data = SYNTHETIC
        make_synthetic(data)
    base = dataclasses.replace(base, classes=open_dataset(data).classes)
    found: list[tuple[Row, dict[str, Any]]] = []
    with progress("") as update:

        def show(row: Row, now: Progress) -> None:
            done = f"row {len(found) + 1}/{len(chosen)} {row.name}"
            update(now.step, now.steps, f"{done}: {now.phase}")

        for row, result in run_rows(data, out, base, config, chosen, initial, show):
            found.append((row, result))
            say(f"{row.name}: mAP@0.5 {100 * result['map']['0.5']:.2f} (paper {row.paper:.2f}), {out / row.name}")
    rows = report(found)
    text = markdown(rows)
    whole = {
        "data": str(data),
        "preset": preset_name,
        "steps": config.steps,
        "seed": seed,
        "rows": rows,
        "markdown": text,
    }
    if len(chosen) == len(ROWS):
        write_json(out / "ablation.json", whole)
        with whole_file(out / "ablation.md") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return whole
