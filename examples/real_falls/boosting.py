"""Gradient boosting on hand-made features: python boosting.py DATA DETECTIONS.json [--seed N].

Needs `pip install scikit-learn`. Each training recording is used several times with its warmth scaled, since persons
differ in size and temperature; without this, one of six persons is hardly ever detected. Smoothing and thresholds are
fitted on training recordings scored by a classifier of the other training days: nothing of the test day is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from data_set import CLASSES
from decide import Rule, Scores, detect, fit_rule
from features import OFFSETS, stacked_features
from judge import run_and_judge
from recordings import Warmth, read_warmth

from infdet_deploy.datasets.instances import ScoredInstance

FPS = 25.0
_GAINS = (0.55, 0.7, 0.85, 1.0, 1.2)  # by which a training recording's warmth is multiplied


@dataclass(frozen=True)
class BoostingOptions:
    """copies: of each training recording, at other gains. every: every which frame of a copy is used."""

    iterations: int = 120
    copies: int = 3
    every: int = 12
    seed: int = 0


def run_boosting(data: Path, seed: int) -> tuple[list[ScoredInstance], Rule]:
    """Train on a data set's training days; the detections of its test day, and the fitted rule."""
    options = BoostingOptions(seed=seed)
    training, tests = read_warmth(data, "training", FPS), read_warmth(data, "testing", FPS)
    rule = out_of_fold_rule(training, options)
    scores = score(train(training, options), tests)
    found = [one for test, scored in zip(tests, scores, strict=True) for one in detect(test.clip, scored, FPS, rule)]
    return found, rule


def out_of_fold_rule(training: Sequence[Warmth], options: BoostingOptions) -> Rule:
    """The best rule for the training recordings, each day scored by a classifier of the other days."""
    held_out: list[Warmth] = []
    scores: list[Scores] = []
    days = sorted({one.day for one in training})
    for day in days:
        tests = [one for one in training if one.day == day]
        # A single training day has no other day: its even recordings then judge its odd ones.
        others = [one for one in training if one.day != day] or training[::2]
        tests = tests if len(days) > 1 else list(training[1::2])
        scores += score(train(others, options), tests)
        held_out += tests
    return fit_rule([one.clip for one in held_out], scores, FPS)


def train(training: Sequence[Warmth], options: BoostingOptions) -> Any:
    """A classifier of frames: 0 no action, 1 … the classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(options.seed)
    features, labels = [], []
    for one in training:
        known = frame_labels(one)
        for gain in rng.choice(_GAINS, options.copies, replace=False):
            frames = np.arange(rng.integers(options.every), len(known), options.every)
            features.append(stacked_features(one.frames * np.float32(gain), frames))
            labels.append(known[frames])
    classifier = HistGradientBoostingClassifier(
        max_iter=options.iterations, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=40, l2_regularization=1.0,
        max_features=0.5, early_stopping=False, random_state=options.seed,
    )  # fmt: skip
    return classifier.fit(np.concatenate(features), np.concatenate(labels))


def frame_labels(recording: Warmth) -> np.ndarray[Any, np.dtype[np.int64]]:
    """int64 [T]: each frame's class plus one, 0 where there is no action."""
    times_s = np.arange(len(recording.frames)) / recording.fps
    labels = np.zeros(len(times_s), np.int64)
    for one in recording.clip.instances:
        labels[(times_s >= one.start_s) & (times_s < one.end_s)] = 1 + CLASSES.index(one.label)
    return labels


def score(classifier: Any, recordings: Sequence[Warmth]) -> list[Scores]:
    """The probability of each class in each frame, float32 [T, 3] a recording."""
    found = []
    for one in recordings:
        probabilities = classifier.predict_proba(stacked_features(one.frames, np.arange(len(one.frames))))
        found.append(probabilities[:, 1:].astype(np.float32))
    return found


def look_ahead_s(rule: Rule) -> float:
    """How long after its end an action can be reported: the last offset and the smoothing, in seconds."""
    return float(OFFSETS[-1]) / FPS + rule.reach_s


def main() -> None:
    def method(data: Path, seed: int) -> tuple[list[ScoredInstance], str]:
        detections, rule = run_boosting(data, seed)
        return detections, f"{rule}; reports an action {look_ahead_s(rule):.1f} s after its end"

    run_and_judge("Train gradient boosting and judge it on the test day.", method)


if __name__ == "__main__":
    main()
