"""A bundle's stages, compiled by a backend and closed together. No torch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import InfdetError
from infdet_deploy.runtime.backends.base import CompiledStage, Performance, StageSource
from infdet_deploy.runtime.backends.registry import get_backend

Shapes = Mapping[str, tuple[int, ...]]


def stage_source(
    bundle: Bundle,
    stage: str,
    backend: str,
    precision: str,
    shapes: Shapes | None = None,
    performance: Performance = "latency",
) -> StageSource:
    """The source of a bundle's stage for a backend. Raises UsageError if the bundle lacks the precision or format.

    shapes, performance: as in `StageSource`.
    """
    spec = bundle.entry(stage)
    path = bundle.file_for(backend, stage, precision, get_backend(backend).capabilities.format)
    fixed = bundle.fixed_shapes_file(backend, stage, precision)
    if shapes and fixed is not None:
        path, fixed = fixed, None
    source = StageSource(
        path, precision, spec.input_names, spec.output_names, bundle.digest(path.name), shapes, performance
    )
    if fixed is None:
        return source
    return replace(source, fixed=replace(source, path=fixed, digest=bundle.digest(fixed.name)))


def open_bundle_stage(
    bundle: Bundle, stage: str, backend: str, precision: str, shapes: Shapes | None = None
) -> CompiledStage:
    """Compile one stage of a bundle. Arguments as for `stage_source`; raises UsageError or BackendError."""
    return get_backend(backend).open_stage(stage_source(bundle, stage, backend, precision, shapes))


class CompiledStages:
    """Base of objects that own a bundle's compiled stages, by name, and close them together."""

    def __init__(self) -> None:
        self._stages: dict[str, CompiledStage] = {}
        self._closed = False

    @property
    def stages(self) -> dict[str, CompiledStage]:
        """The compiled stages by name. Raises InfdetError after `close`."""
        self._check_open()
        return self._stages

    def close(self) -> None:
        """Free the compiled stages; the object then raises InfdetError."""
        self._closed = True
        while self._stages:
            self._stages.popitem()[1].close()

    def _check_open(self) -> None:
        if self._closed:
            raise InfdetError(f"{type(self).__name__.lower()} is closed; open another one")

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
