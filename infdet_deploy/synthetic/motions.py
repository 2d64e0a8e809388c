"""Motions of figures: poses float64 [T, 10] over a clip's times, blended by weights.

Times are in seconds, angles in radians, lengths in statures; `t` are the clip's frame times float64 [T].
"""

import numpy as np

from infdet_deploy.synthetic.figures import Array, pose

STRIDE = 0.85  # two steps, in statures
WALKING_SPEED = 0.7  # statures per second

CROUCH = pose(
    lean=0.6, head=-0.3, shoulder_a=1.1, elbow_a=0.5, shoulder_b=0.9, elbow_b=0.6,
    hip_a=1.4, knee_a=2.3, hip_b=1.1, knee_b=2.1,
)  # fmt: skip
ONE_KNEE = pose(lean=0.25, shoulder_a=0.8, elbow_a=0.6, shoulder_b=0.3, hip_a=1.45, knee_a=1.5, hip_b=-0.1, knee_b=1.5)
SITTING = pose(
    lean=0.05, shoulder_a=0.5, elbow_a=0.7, shoulder_b=0.45, elbow_b=0.8, hip_a=1.5, knee_a=1.45, hip_b=1.45, knee_b=1.5
)
PICKING_UP = pose(
    lean=1.35, head=-0.2, shoulder_a=1.5, elbow_a=0.1, shoulder_b=0.7, elbow_b=0.3, hip_a=0.25, knee_a=0.45, knee_b=0.35
)
HANDSHAKE = pose(lean=0.06, shoulder_a=0.75, elbow_a=0.75, elbow_b=0.2)
HANDS_AND_KNEES = pose(
    lean=1.15, head=-0.3, shoulder_a=1.25, elbow_a=0.1, shoulder_b=1.05, elbow_b=0.1,
    hip_a=0.1, knee_a=1.6, hip_b=-0.1, knee_b=1.45,
)  # fmt: skip
BUCKLED = pose(
    lean=0.35, head=0.3, shoulder_a=0.7, elbow_a=0.5, shoulder_b=-0.3, elbow_b=0.7,
    hip_a=0.75, knee_a=1.5, hip_b=0.5, knee_b=1.35,
)  # fmt: skip
LYING_ON_FRONT = pose(
    lean=1.52, head=-0.1, shoulder_a=2.5, elbow_a=0.35, shoulder_b=1.0, elbow_b=0.9, hip_a=-1.5, knee_a=0.08,
    hip_b=-1.42, knee_b=0.12,
)  # fmt: skip
LYING_ON_BACK = pose(
    lean=-1.52, head=0.12, shoulder_a=0.25, elbow_a=0.1, shoulder_b=0.5, elbow_b=0.6, hip_a=1.55, knee_a=0.1,
    hip_b=2.0, knee_b=1.0,
)  # fmt: skip
GUARD = pose(
    lean=0.18, head=0.05, shoulder_a=0.8, elbow_a=1.7, shoulder_b=0.6, elbow_b=1.9,
    hip_a=0.38, knee_a=0.3, hip_b=-0.32, knee_b=0.15,
)  # fmt: skip
EMBRACE = pose(lean=0.1, head=0.18, shoulder_a=0.75, elbow_a=1.3, shoulder_b=0.45, elbow_b=1.45, hip_b=-0.1)
GREETING = pose(lean=0.05, shoulder_a=1.35, elbow_a=0.25, shoulder_b=1.2, elbow_b=0.3)  # arms open, before an embrace

# What one blow adds to the guard, and its relative frequency.
_BLOWS = (
    (0.34, pose(lean=0.22, shoulder_a=0.85, elbow_a=-1.6, hip_b=-0.15)),  # punch
    (0.28, pose(lean=0.26, shoulder_b=1.05, elbow_b=-1.8, hip_a=0.15)),  # punch with the other hand
    (0.08, pose(lean=0.1, shoulder_a=1.9, elbow_a=-0.9)),  # swing from above
    (0.12, pose(lean=0.3, shoulder_a=0.75, elbow_a=-1.5, shoulder_b=0.95, elbow_b=-1.7)),  # push
    (0.10, pose(lean=-0.35, hip_a=1.0, knee_a=-0.2, shoulder_b=-0.5)),  # kick
    (0.08, pose(lean=-0.5, head=-0.3, shoulder_a=0.5, shoulder_b=0.7)),  # thrown back by a blow
)


def smoothstep(u: Array) -> Array:
    """0 for u ≤ 0, 1 for u ≥ 1, smooth between."""
    u = np.clip(u, 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)


def envelope(t: Array, start_s: float, end_s: float, rise_s: float, fall_s: float) -> Array:
    """A weight rising from 0 to 1 in the `rise_s` after the start, falling to 0 in the `fall_s` before the end."""
    return np.minimum(smoothstep((t - start_s) / rise_s), smoothstep((end_s - t) / fall_s))


def wander(rng: np.random.Generator, t: Array, period_s: float) -> Array:
    """Smooth random oscillation float64 [T] of mean 0, seldom beyond ±1, with about the given period."""
    phases, stretch = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.85, 1.15, 3)
    rates = 2 * np.pi / period_s * np.array([0.6, 1.0, 1.7]) * stretch
    sum_of_waves: Array = np.sin(t[:, None] * rates + phases) @ np.array([0.5, 0.45, 0.25])
    return sum_of_waves


def smoothed(values: Array, fps: float, width_s: float) -> Array:
    """`values` float64 [T] averaged over about `width_s` (two box filters, ends repeated)."""
    length = max(1, round(width_s * fps / 2))
    box = np.ones(length) / length
    for _ in range(2):
        padded = np.pad(values, (length // 2, length - 1 - length // 2), mode="edge")
        values = np.convolve(padded, box, mode="valid")
    return values


def overlaid(poses: Array, weight: Array, motion: Array) -> Array:
    """`poses` moved towards `motion` (float64 [T, 10] or one pose [10]) by `weight` float64 [T] in 0..1."""
    return poses + weight[:, None] * (motion - poses)


def standing(rng: np.random.Generator, t: Array) -> Array:
    """Standing: the weight shifts, and the hands move a little as in conversation."""
    poses = np.tile(
        pose(shoulder_a=0.1, elbow_a=0.25, shoulder_b=0.05, elbow_b=0.2, hip_a=0.06, hip_b=-0.06), (len(t), 1)
    )
    poses[:, 0] += 0.04 * wander(rng, t, 4.0)
    poses[:, 1] += 0.12 * wander(rng, t, 2.5)
    talk = np.clip(wander(rng, t, 6.0), 0.0, 1.0)
    for shoulder, elbow in ((2, 3), (4, 5)):
        poses[:, shoulder] += talk * (0.35 + 0.25 * wander(rng, t, 1.6))
        poses[:, elbow] += talk * (0.9 + 0.4 * wander(rng, t, 1.2))
    return poses


def walking(poses: Array, t: Array, x: Array, facing: Array) -> Array:
    """`poses` with a gait that fits the figure's movement `x` float64 [T] along the ground."""
    step = np.gradient(x)
    amount = np.clip(np.abs(step) / (t[1] - t[0]) / (0.6 * WALKING_SPEED), 0.0, 1.0)
    phase = np.cumsum(step * np.sign(facing + 1e-9)) * 2 * np.pi / STRIDE
    gait = poses.copy()
    gait[:, 0] = 0.06
    for sign, shoulder, elbow, hip, knee in ((1, 2, 3, 6, 7), (-1, 4, 5, 8, 9)):
        gait[:, hip] = 0.05 + sign * 0.48 * np.sin(phase)
        gait[:, knee] = 0.12 + 0.85 * np.clip(sign * np.cos(phase), 0.0, 1.0)
        gait[:, shoulder] = -sign * 0.45 * np.sin(phase)
        gait[:, elbow] = 0.3 - sign * 0.15 * np.sin(phase)
    return overlaid(poses, amount, gait)


def waving(t: Array, rate_hz: float) -> Array:
    """One arm up, its forearm moving back and forth."""
    poses = np.tile(pose(shoulder_a=2.3, elbow_a=0.5, elbow_b=0.2), (len(t), 1))
    poses[:, 3] += 0.55 * np.sin(2 * np.pi * rate_hz * t)
    return poses


def fighting(rng: np.random.Generator, t: Array, start_s: float, end_s: float) -> Array:
    """Repeated blows from a guard, with a rocking body."""
    poses = np.tile(GUARD, (len(t), 1))
    poses[:, 0] += 0.14 * wander(rng, t, 0.8)
    poses[:, 6] += 0.12 * wander(rng, t, 0.7)
    poses[:, 8] += 0.12 * wander(rng, t, 0.7)
    poses[:, 2:6] += 0.18 * np.stack([wander(rng, t, 0.5) for _ in range(4)], axis=1)
    chances = np.array([chance for chance, _ in _BLOWS])
    time = start_s + rng.uniform(0.0, 0.2)
    while time < end_s - 0.15:
        length = rng.uniform(0.24, 0.44)
        _, blow = _BLOWS[rng.choice(len(_BLOWS), p=chances / chances.sum())]
        pulse = np.sin(np.pi * np.clip((t - time) / length, 0.0, 1.0)) ** 1.5
        poses += pulse[:, None] * blow * rng.uniform(0.8, 1.15)
        time += length * rng.uniform(0.55, 1.05)
    poses[:, [3, 5, 7, 9]] = np.clip(poses[:, [3, 5, 7, 9]], 0.0, 2.4)
    return poses


def falling(
    rng: np.random.Generator,
    t: Array,
    poses: Array,
    start_s: float,
    end_s: float,
    up_s: float,
    rise_s: float,
    forward: bool,
) -> tuple[Array, Array]:
    """`poses` with a collapse from `start_s` to `end_s`, then lying, then getting up in the `rise_s` from `up_s`.

    The figure falls `forward` on its face, otherwise on its back. Returns the poses and the pelvis's forward
    displacement float64 [T] in statures.
    """
    lying = (LYING_ON_FRONT if forward else LYING_ON_BACK) + rng.normal(0, 0.06, 10)
    descent_s = min(end_s - start_s, rng.uniform(0.7, 1.2))
    begin_s = end_s - descent_s  # a longer instance begins with staggering
    buckled = BUCKLED + rng.normal(0, 0.08, 10)
    buckled[0] = abs(buckled[0]) if forward else -0.25
    after = t >= up_s
    stagger = envelope(t, start_s, end_s, min(0.3, 0.4 * (end_s - start_s)), 0.2)
    unsteady = poses + 0.0
    unsteady[:, 0] += 0.22 * wander(rng, t, 1.0) + 0.08
    unsteady[:, 6:10:2] += 0.2 * wander(rng, t, 0.9)[:, None]
    unsteady[:, 7:10:2] += 0.35
    unsteady[:, 2:6] += 0.5 + 0.4 * np.stack([wander(rng, t, 0.7) for _ in range(4)], axis=1)
    poses = overlaid(poses, stagger, unsteady)

    crouch = after * smoothstep((up_s + rise_s - t) / (0.45 * rise_s))
    kneel = after * smoothstep((up_s + 0.72 * rise_s - t) / (0.35 * rise_s))
    still_down = smoothstep((up_s + 0.42 * rise_s - t) / (0.42 * rise_s))
    sinking = smoothstep((t - begin_s) / (0.6 * descent_s)) * ~after
    descent = np.clip((t - begin_s - 0.2 * descent_s) / (0.8 * descent_s), 0.0, 1.0) ** 1.8  # accelerating
    poses = overlaid(poses, crouch, CROUCH)
    poses = overlaid(poses, kneel, HANDS_AND_KNEES)
    poses = overlaid(poses, sinking, buckled)
    down = descent * still_down
    poses = overlaid(poses, down, lying)
    way = (0.3 if forward else -0.3) * descent * smoothstep((up_s + rise_s - t) / rise_s)
    return poses, way
