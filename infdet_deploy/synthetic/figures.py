"""Human figures as a thermal camera sees them: joint angles → joint positions → warm limbs drawn on a picture.

Lengths are in statures (the figure's standing height is 1). A pose is ten joint angles in radians, in the order of
`ANGLES`, in the plane the figure faces: `lean` turns the torso forward from upright, `head` bends the head forward
on it, `shoulder_*` lifts an arm forward from along the torso, `elbow_*` bends the forearm up, `hip_*` lifts a thigh
forward from straight down and `knee_*` bends the shin back. A figure always rests on the ground with its lowest
point, so walking, kneeling and lying need angles only.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ANGLES = (
    "lean", "head", "shoulder_a", "elbow_a", "shoulder_b", "elbow_b", "hip_a", "knee_a", "hip_b", "knee_b",
)  # fmt: skip

TORSO = 0.29
NECK_TO_HEAD = 0.105  # to the head's centre
UPPER_ARM, FOREARM = 0.17, 0.17
THIGH, SHIN, FOOT = 0.25, 0.24, 0.07
HEAD_RADIUS, TORSO_RADIUS, LIMB_RADIUS = 0.064, 0.07, 0.03
SHOULDER_OFFSET, HIP_OFFSET = 0.10, 0.055  # sideways from the middle

# The points that `joints` returns, in this order.
POINTS = (
    "head", "neck", "pelvis",
    "shoulder_a", "elbow_a", "hand_a", "shoulder_b", "elbow_b", "hand_b",
    "hip_a", "knee_a", "ankle_a", "toe_a", "hip_b", "knee_b", "ankle_b", "toe_b",
)  # fmt: skip
_AT = {name: index for index, name in enumerate(POINTS)}
_RADII = np.array([HEAD_RADIUS, TORSO_RADIUS, TORSO_RADIUS] + [LIMB_RADIUS] * 14)

_SHIFT = 4  # cv2 draws at fractions of 1/16 pixel


@dataclass(frozen=True)
class Figure:
    """One person through a clip of T frames."""

    joints: Array  # float64 [T, 17, 2], pixels: column, row
    stature_px: float
    facing: Array  # float64 [T], 1 right, 0 towards the camera, -1 left
    heat: dict[str, float]  # grey levels 0–255 of head, hand, torso, arm, leg


def pose(**angles: float) -> Array:
    """A pose float64 [10] from named angles in radians; the others are 0."""
    if unknown := set(angles) - set(ANGLES):
        raise TypeError(f"unknown angles {sorted(unknown)}, expected some of {ANGLES}")
    return np.array([angles.get(name, 0.0) for name in ANGLES])


def joints(poses: Array, x: Array, facing: Array, pitch: float = 0.0) -> Array:
    """Joint positions float64 [T, 17, 2] (x to the right, height over the feet in the picture; statures).

    `poses` float64 [T, 10] radians; `x` float64 [T] place of the pelvis in statures; `facing` float64 [T] in -1..1;
    `pitch`: how far the camera looks down, radians.
    """
    angles = dict(zip(ANGLES, poses.T, strict=True))
    lean = angles["lean"]
    forward, height = np.zeros((2, len(poses), len(POINTS)))
    side = np.zeros(len(POINTS))

    def place(name: str, start: str, length: float, angle_from_down: Array) -> None:
        at, origin = _AT[name], _AT[start]
        forward[:, at] = forward[:, origin] + length * np.sin(angle_from_down)
        height[:, at] = height[:, origin] - length * np.cos(angle_from_down)
        side[at] = {"a": 1.0, "b": -1.0}.get(name[-1], 0.0) * (
            SHOULDER_OFFSET if name[:3] in ("sho", "elb", "han") else HIP_OFFSET
        )

    up = np.pi - lean
    place("neck", "pelvis", TORSO, up)
    place("head", "neck", NECK_TO_HEAD, up - angles["head"])
    side[[_AT["neck"], _AT["head"]]] = 0.0
    for letter in "ab":
        shoulder, elbow, hip, knee = (angles[f"{joint}_{letter}"] for joint in ("shoulder", "elbow", "hip", "knee"))
        place(f"shoulder_{letter}", "neck", 0.03, -lean)
        place(f"elbow_{letter}", f"shoulder_{letter}", UPPER_ARM, shoulder - lean)
        place(f"hand_{letter}", f"elbow_{letter}", FOREARM, shoulder - lean + elbow)
        place(f"hip_{letter}", "pelvis", 0.0, hip)
        place(f"knee_{letter}", f"hip_{letter}", THIGH, hip)
        place(f"ankle_{letter}", f"knee_{letter}", SHIN, hip - knee)
        place(f"toe_{letter}", f"ankle_{letter}", FOOT, hip - knee + 1.4)
    height -= (height - _RADII).min(axis=1, keepdims=True)
    turned = np.sqrt(np.clip(1.0 - facing**2, 0.0, 1.0))
    across = x[:, None] + forward * facing[:, None] + side * turned[:, None]
    nearer = forward * turned[:, None] - side * facing[:, None]  # to the camera
    return np.stack([across, height * np.cos(pitch) - nearer * np.sin(pitch)], axis=2)


def draw(canvas: NDArray[np.uint8], figure: Figure, frame: int, scale: int) -> None:
    """Draw a figure in frame number `frame` on `canvas` uint8 [scale * H, scale * W], in place, anti-aliased."""
    points = figure.joints[frame] * (scale << _SHIFT)
    rounded = points.round().astype(int).tolist()
    unit = figure.stature_px * scale
    heat = figure.heat
    facing = float(figure.facing[frame])
    turned = np.sqrt(max(0.0, 1.0 - facing * facing))

    def limb(start: str, end: str, width: float, level: float) -> None:
        ends = rounded[_AT[start]], rounded[_AT[end]]
        for part, shade in ((1.0, level - 9), (0.55, level)):  # a rounded limb is warmest along its middle
            thickness = max(1, round(width * part * unit))
            cv2.line(canvas, *ends, shade, thickness, cv2.LINE_AA, _SHIFT)

    def arm(letter: str, shade: float) -> None:
        limb(f"shoulder_{letter}", f"elbow_{letter}", 0.066, heat["arm"] * shade)
        limb(f"elbow_{letter}", f"hand_{letter}", 0.052, (heat["arm"] * 0.8 + heat["hand"] * 0.2) * shade)
        limb(f"hand_{letter}", f"hand_{letter}", 0.058, heat["hand"] * shade)

    def leg(letter: str, shade: float) -> None:
        limb(f"hip_{letter}", f"knee_{letter}", 0.096, heat["leg"] * shade)
        limb(f"knee_{letter}", f"ankle_{letter}", 0.068, heat["leg"] * 0.96 * shade)
        limb(f"ankle_{letter}", f"toe_{letter}", 0.05, heat["leg"] * 0.85 * shade)

    near, far = ("a", "b") if facing >= 0 else ("b", "a")
    arm(far, 0.9)
    leg(far, 0.9)
    leg(near, 1.0)
    limb("neck", "pelvis", 0.135 + 0.055 * turned, heat["torso"])
    limb("neck", "head", 0.06, heat["head"] * 0.95)
    for part, shade in ((1.0, heat["head"] - 9), (0.65, heat["head"])):
        radius = round(HEAD_RADIUS * part * unit * (1 << _SHIFT))
        cv2.circle(canvas, rounded[_AT["head"]], radius, shade, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    arm(near, 1.0)
