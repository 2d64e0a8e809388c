"""A bundle's stages compiled by a backend, and held together. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.runtime.backends.base import Backend, open_stage, stage_format


def open_bundle_stage(
    bundle: Bundle,
    stage: str,
    backend: str,
    precision: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    performance: str = "latency",
) -> Backend:
    """Compile one stage of a bundle; raises UsageError or BackendError when that is not possible.

    shapes, performance: as for `open_stage`.
    """
    path, digest, inputs, outputs = stage_file(bundle, stage, backend, precision)
    return open_stage(backend, path, precision, inputs, outputs, shapes, digest, performance)


def stage_file(
    bundle: Bundle, stage: str, backend: str, precision: str
) -> tuple[Path, str | None, tuple[str, ...], tuple[str, ...]]:
    """The file of a stage that a backend runs, its SHA-256 where the manifest has it, its inputs and its outputs."""
    spec = bundle.entry(stage)
    path = bundle.stage_file(stage, precision, bundle.form_for(stage, precision, backend, stage_format(backend)))
    inputs, outputs = (tuple(tensor["name"] for tensor in spec[end]) for end in ("inputs", "outputs"))
    return path, bundle.digest(path.name), inputs, outputs


class CompiledStages:
    """What holds a bundle's compiled stages, by name, and gives them back together."""

    stages: dict[str, Backend]

    def close(self) -> None:
        """Give the compiled stages back."""
        while self.stages:
            self.stages.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
