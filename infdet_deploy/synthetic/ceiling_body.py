"""A simple body of capsules, and the postures it takes: the person of recordings from a ceiling.

A posture is an array [13, 3] of joints in units of the person's stature: x forwards, y to the left and z up, with the
origin on the floor between the feet of a standing person.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

JOINTS = (
    *("head", "neck", "pelvis", "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "hand_l", "hand_r"),
    *("knee_l", "knee_r", "ankle_l", "ankle_r"),
)
_AT = {name: index for index, name in enumerate(JOINTS)}
_PAIRS = [(_AT[f"{name}_l"], _AT[f"{name}_r"]) for name in ("shoulder", "elbow", "hand", "knee", "ankle")]
_HALF_WIDTH = {"shoulder": 0.1, "elbow": 0.14, "hand": 0.13, "knee": 0.055, "ankle": 0.05}
_THICKNESS = 0.07  # height of the axis of a body that lies


@dataclass(frozen=True)
class Capsule:
    """A limb between two joints. radius: of the stature. warmth: share of the body's contrast; clothes keep it in."""

    first: int
    second: int
    radius: float
    warmth: float


def _capsules() -> tuple[Capsule, ...]:
    parts = [("head", "neck", 0.058, 0.8), ("neck", "pelvis", 0.085, 0.8), ("shoulder_l", "shoulder_r", 0.055, 0.85)]
    for side in "lr":
        parts += [
            (f"shoulder_{side}", f"elbow_{side}", 0.03, 0.8),
            (f"elbow_{side}", f"hand_{side}", 0.026, 1.0),
            ("pelvis", f"knee_{side}", 0.05, 0.9),
            (f"knee_{side}", f"ankle_{side}", 0.035, 0.75),
        ]
    return tuple(Capsule(_AT[first], _AT[second], radius, warmth) for first, second, radius, warmth in parts)


CAPSULES = _capsules()


def posture(**middle: tuple[float, float]) -> Array:
    """A posture [13, 3] that is the same left and right, from x and z of "head", "hand" and so on."""
    joints = np.zeros((len(JOINTS), 3))
    for name, (x, z) in middle.items():
        for side, sign in (("_l", 1), ("_r", -1)) if name in _HALF_WIDTH else (("", 0),):
            joints[_AT[name + side]] = x, sign * _HALF_WIDTH.get(name, 0.0), z
    return joints


_FEET = {"knee": (0.02, 0.28), "ankle": (0.0, 0.04)}
_ARMS_DOWN = {"shoulder": (0.0, 0.81), "elbow": (0.0, 0.63), "hand": (0.04, 0.47)}

STAND = posture(head=(0.02, 0.93), neck=(0.0, 0.84), pelvis=(0.0, 0.53), **_ARMS_DOWN, **_FEET)
_ARMS_UP = {"shoulder": (0.0, 0.82), "elbow": (0.1, 0.85), "hand": (0.16, 1.0)}
WAVE = posture(head=(0.02, 0.93), neck=(0.0, 0.84), pelvis=(0.0, 0.53), **_ARMS_UP, **_FEET)
SIT = posture(
    **{"head": (-0.2, 0.67), "neck": (-0.22, 0.58), "pelvis": (-0.24, 0.28), "shoulder": (-0.22, 0.56)},
    **{"elbow": (-0.2, 0.4), "hand": (-0.03, 0.32), "knee": (0.02, 0.29), "ankle": (0.02, 0.04)},
)
# On the way to a chair and from it, the trunk leans forwards to stay above the feet.
LEAN = posture(
    **{"head": (0.1, 0.73), "neck": (0.03, 0.67), "pelvis": (-0.14, 0.4), "shoulder": (0.02, 0.64)},
    **{"elbow": (0.0, 0.48), "hand": (0.1, 0.38), "knee": (0.08, 0.27), "ankle": (0.0, 0.04)},
)
CROUCH = posture(
    **{"head": (0.1, 0.54), "neck": (0.05, 0.46), "pelvis": (-0.12, 0.2), "shoulder": (0.05, 0.44)},
    **{"elbow": (0.1, 0.32), "hand": (0.18, 0.22), "knee": (0.14, 0.26), "ankle": (0.0, 0.04)},
)
BEND = posture(
    **{"head": (0.34, 0.6), "neck": (0.25, 0.62), "pelvis": (-0.08, 0.52), "shoulder": (0.22, 0.6)},
    **{"elbow": (0.25, 0.42), "hand": (0.3, 0.24), "knee": (0.0, 0.27), "ankle": (0.0, 0.04)},
)
KNEEL = posture(
    **{"head": (0.06, 0.66), "neck": (0.0, 0.58), "pelvis": (-0.04, 0.28), "shoulder": (0.0, 0.56)},
    **{"elbow": (0.06, 0.4), "hand": (0.14, 0.3), "knee": (0.0, 0.05), "ankle": (-0.24, 0.04)},
)


def lying(towards: float, curl: float, prone: float, foot: float) -> Array:
    """A body that lies on the floor, [13, 3].

    towards: direction of the head in radians, 0 is forwards. curl: 0 is stretched out, 1 has the knees at the belly.
    prone: 1 lies on belly or back, 0 on a side. foot: where the feet are along the body, in statures from the origin.
    """
    along = dict(head=0.9, neck=0.8, pelvis=0.48, shoulder=0.77, elbow=0.6, hand=0.47, knee=0.25, ankle=0.03)
    joints = posture(**{name: (foot + place, _THICKNESS) for name, place in along.items()})
    for left, right in _PAIRS:
        spread = (joints[left, 1] - joints[right, 1]) / 2
        middle = 0.1 * curl if left >= _AT["knee_l"] else 0.0
        joints[[left, right], 1] = middle + prone * spread, middle - prone * spread
        joints[[left, right], 2] = _THICKNESS + (1 - prone) * np.array([2 * spread, 0.0])
    for name, x, y in (("knee", 0.12, 0.16), ("ankle", 0.16, 0.04), ("elbow", 0.02, 0.06), ("hand", 0.1, 0.12)):
        for side in "lr":
            joints[_AT[f"{name}_{side}"], :2] += curl * np.array([x, y])
    joints[[_AT["head"], _AT["neck"]], 1] += curl * np.array([0.1, 0.05])
    return turned(joints, towards)


def turned(joints: Array, angle: float | Array) -> Array:
    """Joints [..., 3] turned about the vertical axis by an angle in radians (one, or one for each of [...])."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, z = joints[..., 0], joints[..., 1], joints[..., 2]
    return np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=-1)


def tipped(joints: Array, towards: float, angle: float) -> Array:
    """A posture [13, 3] that tips over its feet by `angle` radians in the direction `towards`."""
    x, y, z = turned(joints, -towards).T
    x, z = x * np.cos(angle) + z * np.sin(angle), z * np.cos(angle) - x * np.sin(angle)
    return turned(np.stack([x, y, np.maximum(z, 0.04)], axis=-1), towards)


def step(joints: Array, phase: Array, amount: Array) -> Array:
    """Postures [T, 13, 3] with the swing of legs and arms. phase: radians [T]. amount: 0 (still) to 1 [T]."""
    moved = joints.copy()
    swing = 0.13 * amount * np.sin(phase)
    for name, share in (("ankle", 1.0), ("knee", 0.6), ("hand", -0.8), ("elbow", -0.4)):
        for side, sign in (("l", 1.0), ("r", -1.0)):
            moved[:, _AT[f"{name}_{side}"], 0] += sign * share * swing
    return moved
