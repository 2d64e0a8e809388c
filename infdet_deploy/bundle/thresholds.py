"""Thresholds of a bundle's classes, as a person asks for them."""

from collections.abc import Sequence

from infdet_deploy.bundle.loading import Bundle
from infdet_deploy.errors import UsageError


def thresholds(asked: Sequence[str], classes: Sequence[str]) -> dict[str, float]:
    """`CLASS=SCORE` for one class or `SCORE` for all of them, the later ones counting, as class → threshold.

    Raises UsageError for another form, a class that there is not, and a score outside 0–1.
    """
    found: dict[str, float] = {}
    for text in asked:
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


def with_thresholds(bundle: Bundle, asked: Sequence[str]) -> Bundle:
    """The bundle with what is asked for; raises UsageError as `thresholds`, and where nothing is compared with them."""
    if not asked:
        return bundle
    if bundle.task == "recognition":
        raise UsageError(f"--threshold: {bundle.path} recognises whole clips, which takes none; leave it out")
    return bundle.with_thresholds(thresholds(asked, bundle.classes))
