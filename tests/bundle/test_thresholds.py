"""`--threshold`: values and effect."""

from dataclasses import replace

import pytest

from infdet_deploy.archive.detect import DetectOptions, detect
from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.thresholds import thresholds, with_thresholds
from infdet_deploy.errors import UsageError
from tests.bundle.small_bundle import write_small_bundle
from tests.video.recordings import write_video

CLASSES = ("drop", "fight", "hug")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((), {}),
        (("fight=0.25",), {"fight": 0.25}),
        (("0.5",), dict.fromkeys(CLASSES, 0.5)),
        (("0.5", "hug=1", "hug=0.75"), {"drop": 0.5, "fight": 0.5, "hug": 0.75}),
    ],
)
def test_valid_thresholds(asked, found):
    assert thresholds(asked, CLASSES) == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("kick=0.5", "no class 'kick'; classes are drop, fight, hug"),
        ("=0.5", "no class ''"),
        ("fight", "is 'fight'; expected drop=SCORE, or SCORE for all, from 0 to 1"),
        ("fight=", "is 'fight='; expected"),
        ("hug=1.5", "is 'hug=1.5'; expected"),
        ("-0.1", "is '-0.1'; expected"),
        ("nan", "is 'nan'; expected"),
    ],
)
def test_invalid_thresholds(asked, message):
    with pytest.raises(UsageError, match=message):
        thresholds([asked], CLASSES)


def test_only_named_classes_change(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    changed = bundle.with_thresholds({"fight": 0.125}).rule
    assert changed.thresholds == (bundle.rule.thresholds[0], 0.125, bundle.rule.thresholds[2])
    assert changed.mean_duration_s == bundle.rule.mean_duration_s


def test_recognition_has_no_thresholds(tmp_path):
    bundle = load_bundle(write_small_bundle(tmp_path / "clips.infdet"))
    bundle = replace(bundle, manifest=replace(bundle.manifest, task="recognition"))
    with pytest.raises(UsageError, match="recognises whole clips, without thresholds"):
        with_thresholds(bundle, ["0.5"])


def test_detect_uses_thresholds_and_runs_again_when_they_change(tiny_bundle, tiny_clip, tmp_path):
    video = tmp_path / "night.mkv"
    write_video(video, tiny_clip(80), "ffv1", "gray")

    def run(*asked):
        (result,) = detect(tiny_bundle, [video], DetectOptions(thresholds=asked, out=tmp_path / "out"))
        return [one.label for one in result.detections], result.finished

    # An untrained network's scores lie near a half all along.
    assert run("0.9", "drop=0.05") == (["drop"], False)
    assert run("0.9", "drop=0.05") == (["drop"], True)
    assert run("0.9") == ([], False)
