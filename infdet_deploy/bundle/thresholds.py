"""Score thresholds that replace those of a bundle."""

from collections.abc import Sequence

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import UsageError


def thresholds(texts: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """`CLASS=SCORE` for one class or `SCORE` for all; later texts override earlier ones. Returns class → threshold.

    Raises UsageError for another form, an unknown class, and a score outside 0–1.
    """
    found: dict[str, float] = {}
    for text in texts:
        label, equals, number = text.rpartition("=")
        if equals and label not in classes:
            raise UsageError(f"--threshold: no class '{label}'; classes are {', '.join(classes)}")
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise UsageError(f"--threshold is '{text}'; expected {classes[0]}=SCORE, or SCORE for all, from 0 to 1")
        found |= dict.fromkeys([label] if equals else classes, value)
    return found


def with_thresholds(bundle: Bundle, texts: Sequence[str]) -> Bundle:
    """The bundle with these thresholds. Raises UsageError as `thresholds`, and for a bundle for recognition."""
    if not texts:
        return bundle
    if bundle.task == "recognition":
        raise UsageError(f"--threshold: {bundle.path} recognises whole clips, without thresholds; leave it out")
    return bundle.with_thresholds(thresholds(texts, bundle.classes))
