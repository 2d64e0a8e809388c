"""What every exported file has to pass before it is kept: the network's numbers, on the backends that read it here."""

from collections.abc import Callable, Iterable

from infdet_deploy.bundle.tolerances import tolerance
from infdet_deploy.errors import ParityError
from infdet_deploy.runtime.backends.base import Backend
from infdet_deploy.runtime.backends.registry import available_backends

_FLAGS = {"float16": "--fp16", "bfloat16": "--bf16"}


def worst_error(stage: str, precision: str, form: str, errors: Callable[[str], Iterable[float]]) -> float:
    """The largest relative L2 of a stage from the network over the backends that read its file here.

    errors: gives those of one backend, one for each check clip. Raises ParityError when one is out of tolerance, or
    when there is no such backend.
    """
    allowed, worst = tolerance(form, precision), 0.0

    def reads(backend: Backend) -> bool:
        known = backend.capabilities
        return known.format == form and not known.built_ahead and backend.supports(precision)

    backends = [backend.name for backend in available_backends() if reads(backend)]
    if not backends:
        raise ParityError(
            f"no backend here runs {precision} {form}, so nothing says that {stage} is right; nothing was written"
        )
    for backend in backends:
        for error in errors(backend):
            if not error <= allowed:  # a NaN is not
                instead = f"; export without {_FLAGS[precision]}" if precision in _FLAGS else ""
                raise ParityError(
                    f"{stage} {precision} {form}: relative L2 {error:.2e} from the network on {backend}, "
                    f"allowed {allowed:.0e}; nothing was written{instead}"
                )
            worst = max(worst, error)
    return worst
