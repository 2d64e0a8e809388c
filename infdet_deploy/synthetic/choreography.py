"""The script of a clip: instances of the classes, and unlabelled activity before, between and after them.

Times are in seconds; positions in statures from the middle of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from infdet_deploy.datasets.instances import Instance
from infdet_deploy.detections import INFDET_CLASSES as CLASSES
from infdet_deploy.synthetic import motions
from infdet_deploy.synthetic.figures import Array
from infdet_deploy.synthetic.motions import envelope, overlaid, smoothed, wander

# Fitted to InfDet's published annotations (281 drops, 210 fights, 352 hugs; means 1.43, 6.12 and 3.28 s):
# mean and deviation of the log length, shortest and longest length in seconds (2nd and 98th percentiles).
_LENGTHS = {"drop": (0.222, 0.510, 0.48, 3.98), "fight": (1.725, 0.390, 2.58, 12.84), "hug": (1.123, 0.324, 1.76, 6.32)}
_LENGTHS["sit"] = 1.4, 0.35, 2.2, 8.0  # not of InfDet: sitting down, sitting, and getting up
# InfDet's annotated videos contain 3.5, 3.0 and 4.3 instances on average; fewer fit a short clip.
_COUNTS = {
    # chances of 2, 3, 4
    "drop": (0.35, 0.45, 0.20),
    "fight": (0.85, 0.13, 0.02),
    "hug": (0.30, 0.45, 0.25),
    "sit": (0.6, 0.4, 0.0),
}
_OTHER_CLASS = 0.04  # the chance that a later instance has another class than the first
_MARGIN_S = 0.5
OTHERS = ("sit", "pick up", "run", "handshake")  # activity that looks like an action
_GAP_S = {"drop": 3.6, "fight": 1.2, "hug": 1.2, "sit": 1.5}  # at least, after an instance; getting up takes time


@dataclass(frozen=True)
class Actor:
    """A figure's movement over T frames."""

    x: Array  # float64 [T], the pelvis, in the figure's own statures
    facing: Array  # float64 [T], -1..1
    poses: Array  # float64 [T, 10], radians
    size: float = 1.0  # stature relative to the actors in front


def _length_s(rng: np.random.Generator, label: str) -> float:
    mean, sigma, shortest_s, longest_s = _LENGTHS[label]
    return float(np.clip(rng.lognormal(mean, sigma), shortest_s, longest_s))


def schedule(
    rng: np.random.Generator, label: str, clip_s: tuple[float, float], classes: tuple[str, ...] = CLASSES
) -> tuple[float, list[Instance]]:
    """A clip's length in seconds and its instances in order, mostly of class `label`, the others of `classes`."""
    shortest_s, longest_s = clip_s
    count = 2 + int(rng.choice(3, p=_COUNTS[label]))
    labels = [label] + [
        str(rng.choice([other for other in classes if other != label])) if rng.random() < _OTHER_CLASS else label
        for _ in range(count - 1)
    ]
    lengths_s = [_length_s(rng, name) for name in labels]

    def needed_s() -> float:
        gaps_s = [_GAP_S[name] for name in labels[:-1]]
        return sum(lengths_s) + sum(gaps_s) + 3 * _MARGIN_S

    while needed_s() > longest_s and len(labels) > 2:
        labels.pop()
        lengths_s.pop()
    excess_s = needed_s() - longest_s
    if excess_s > 0:  # shorten to fit
        kept = 1 - excess_s / sum(lengths_s)
        lengths_s = [length_s * kept for length_s in lengths_s]
    duration_s = float(rng.uniform(min(max(needed_s(), shortest_s), longest_s), longest_s))
    spare_s = max(0.0, duration_s - needed_s()) * rng.dirichlet(np.full(len(labels) + 1, 1.5))
    instances, time = [], 2 * _MARGIN_S
    for name, length_s, extra_s in zip(labels, lengths_s, spare_s, strict=False):
        start_s = time + extra_s
        instances.append(Instance(name, start_s, start_s + length_s))
        time = start_s + length_s + _GAP_S[name]
    return duration_s, instances


class _Pair:
    """Two figures that meet, or one alone: their middle, their distance, and motions blended over their gait."""

    def __init__(
        self, rng: np.random.Generator, t: Array, fps: float, half_width: float, alone: bool, others: Sequence[str]
    ) -> None:
        self.rng, self.t, self.fps, self.alone = rng, t, fps, alone
        self.others = [name for name in others if not (alone and name == "handshake")]
        self.half_width = half_width  # of the picture
        # The largest distance of their middle from the middle of the picture.
        self.reach = max(0.1, half_width - 0.6) if alone else max(0.05, 0.8 * (half_width - 0.85))
        first = rng.uniform(-self.reach, self.reach)
        self.middle: list[tuple[float, float]] = [(0.0, first)]
        self.distance: list[tuple[float, float]] = [(0.0, rng.choice([0.42, 0.6, 1.7], p=[0.4, 0.35, 0.25]))]
        self.shake = np.zeros((2, len(t)))  # added to the distance, to the middle
        self.layers: list[tuple[int, Array, Array]] = []
        self.falls: list[tuple[int, float, float, float, float]] = []

    def hold(self, start_s: float, end_s: float, distance: float) -> None:
        """Reach `distance` by `start_s` and keep it until `end_s`."""
        self.distance += [(start_s, distance), (end_s, distance)]
        place = self.middle[-1][1]
        if start_s - self.middle[-1][0] > 1.5:
            place = float(np.clip(place + self.rng.uniform(-0.35, 0.35), -self.reach, self.reach))
        self.middle += [(start_s, place), (end_s, place)]

    def kneel(self, who: int, weight: Array) -> None:
        self.layers.append((who, weight, motions.CROUCH if self.rng.random() < 0.5 else motions.ONE_KNEE))

    def fight(self, start_s: float, end_s: float) -> None:
        rng, t = self.rng, self.t
        self.hold(start_s, end_s, rng.uniform(0.4, 0.5))
        weight = envelope(t, start_s - 0.1, end_s + 0.1, 0.3, 0.3)
        for who in (0, 1):
            self.layers.append((who, weight, motions.fighting(rng, t, start_s, end_s)))
        self.shake += weight * np.stack([0.06 * wander(rng, t, 0.9), 0.09 * wander(rng, t, 1.5)])

    def hug(self, start_s: float, end_s: float) -> None:
        rng, t = self.rng, self.t
        length_s = end_s - start_s
        closing_s, parting_s = length_s * rng.uniform(0.22, 0.32), length_s * rng.uniform(0.18, 0.28)
        self.hold(start_s, start_s, rng.uniform(0.45, 0.6))
        self.hold(start_s + closing_s, end_s - parting_s, rng.uniform(0.16, 0.2))
        self.hold(end_s, end_s, rng.uniform(0.4, 0.55))
        arms = envelope(t, start_s - 0.1, end_s, closing_s, parting_s)
        around = envelope(t, start_s + 0.4 * closing_s, end_s - 0.4 * parting_s, 0.8 * closing_s, 0.6 * parting_s)
        for who in (0, 1):
            self.layers.append((who, arms * rng.uniform(0.8, 1.0), motions.GREETING + rng.normal(0, 0.06, 10)))
            held = motions.EMBRACE + rng.normal(0, 0.06, 10)
            self.layers.append((who, around, held + 0.05 * wander(rng, t, 2.5)[:, None] * np.eye(10)[0]))
        self.shake[1] += 0.025 * around * np.sin(2 * np.pi * rng.uniform(0.25, 0.5) * t)

    def drop(self, start_s: float, end_s: float, until_s: float) -> None:
        rng, t = self.rng, self.t
        who = 0 if self.alone or rng.random() < 0.5 else 1
        rise_s = min(rng.uniform(1.8, 2.6), max(1.2, until_s - end_s - 1.0))
        up_s = end_s + rng.uniform(0.7, max(0.8, min(3.5, until_s - end_s - rise_s - 0.2)))
        if until_s > t[-1] and rng.random() < 0.4:
            up_s = t[-1] + 10  # lies until the end of the clip
        distance = rng.uniform(0.5, 1.0)
        self.hold(max(start_s - 0.2, self.distance[-1][0] + 0.1), min(up_s + rise_s, until_s - 0.3), distance)
        self.falls.append((who, start_s, end_s, up_s, rise_s))
        if rng.random() < 0.4:  # the other bends down to help
            down = envelope(t, end_s + 0.6, min(up_s + 1.5, until_s), 1.2, 1.2)
            self.kneel(1 - who, down)

    def pass_time(self, start_s: float, end_s: float) -> None:
        """Unlabelled activity between two instances."""
        rng, t = self.rng, self.t
        free_s = end_s - start_s
        if free_s < 2.2:
            return
        if self.others and free_s > 7:  # one thing after the other
            middle_s = start_s + rng.uniform(0.4, 0.6) * free_s
            self.pass_time(start_s, middle_s - 0.3)
            self.pass_time(middle_s, end_s)
            return
        if self.others and rng.random() < 0.6:
            self.other(str(rng.choice(self.others)), start_s, end_s)
            return
        what = rng.choice(["apart", "kneel", "wave", "close", "talk"], p=[0.3, 0.25, 0.15, 0.15, 0.15])
        who = int(rng.integers(2))
        if what in ("apart", "close"):
            there = rng.uniform(0.7, 1.1) if what == "apart" else rng.uniform(0.28, 0.36)
            self.hold(start_s + 0.4 * free_s, start_s + 0.6 * free_s, there)
        elif what == "kneel":
            down = envelope(t, start_s + 0.1, end_s, 0.36 * free_s, 0.36 * free_s)
            self.kneel(who, down)
        elif what == "wave":
            up = envelope(t, start_s + 0.3, min(end_s, start_s + 3.0), 0.5, 0.5)
            self.layers.append((who, up, motions.waving(t, rng.uniform(1.2, 2.0))))

    def sit(self, start_s: float, end_s: float) -> None:
        """One sits down, sits, and gets up."""
        rng, longest_s = self.rng, 0.45 * (end_s - start_s)
        down_s, up_s = (min(rng.uniform(0.7, 1.6), longest_s) for _ in range(2))
        who = 0 if self.alone else int(rng.integers(2))
        weight = envelope(self.t, start_s, end_s, down_s, up_s)
        self.layers.append((who, weight, motions.SITTING + rng.normal(0, 0.08, 10)))

    def other(self, what: str, start_s: float, end_s: float) -> None:
        """Unlabelled activity, one of `OTHERS`, which looks much like an action."""
        rng, t = self.rng, self.t
        free_s = end_s - start_s
        who = 0 if self.alone else int(rng.integers(2))
        if what == "sit":
            self.sit(start_s, end_s)
        elif what == "pick up":
            length_s = min(rng.uniform(1.2, 3.0), free_s)
            at_s = rng.uniform(start_s, end_s - length_s)
            weight = envelope(t, at_s, at_s + length_s, 0.4 * length_s, 0.4 * length_s)
            self.layers.append((who, weight, motions.PICKING_UP + rng.normal(0, 0.1, 10)))
        elif what == "run":  # both of them, or the one who is alone
            here, there = self.middle[-1][1], rng.uniform(-self.reach, self.reach)
            taken_s = np.clip(abs(there - here) / rng.uniform(1.2, 2.2), 0.3, free_s)
            at_s = rng.uniform(start_s, end_s - taken_s)
            self.middle += [(at_s, here), (at_s + taken_s, there)]
        else:
            self.hold(start_s + 0.35 * free_s, start_s + 0.75 * free_s, rng.uniform(0.4, 0.52))
            weight = envelope(t, start_s + 0.3 * free_s, start_s + 0.8 * free_s, 0.4, 0.4)
            shaken = np.tile(motions.HANDSHAKE + rng.normal(0, 0.05, 10), (len(t), 1))
            shaken[:, 3] += 0.15 * np.sin(2 * np.pi * rng.uniform(1.5, 3.0) * t)
            self.layers += [(0, weight, shaken), (1, weight, shaken)]

    def actors(self) -> list[Actor]:
        rng, t, fps = self.rng, self.t, self.fps
        middle = smoothed(np.interp(t, *np.transpose(self.middle)), fps, 0.5) + self.shake[1]
        apart = smoothed(np.interp(t, *np.transpose(self.distance)), fps, 0.35) + self.shake[0]
        turn = np.cos(rng.uniform(0.0, 0.8))  # cosine of the angle to the side view
        found = []
        for who, side in ((0, -1.0),) if self.alone else ((0, -1.0), (1, 1.0)):
            x = middle.copy() if self.alone else middle + side * apart / 2
            facing = np.full(len(t), -side * turn)
            if self.alone:  # faces its walking direction
                step = np.gradient(x) * fps
                moving = abs(step) > 0.06
                facing = np.interp(t, t[moving], np.sign(step[moving])) if moving.any() else np.ones(len(t))
                facing = turn * smoothed(np.where(facing >= 0, 1.0, -1.0), fps, 0.5)
                for _, start_s, _, up_s, rise_s in self.falls:  # falls towards the middle, without turning while down
                    down = (t > start_s - 0.3) & (t < up_s + rise_s + 0.3)
                    at = int(np.argmax(down))
                    towards = -np.sign(x[at]) if abs(x[at]) > 0.15 else np.sign(facing[at] + 1e-9)
                    facing = facing + smoothed(down.astype(float), fps, 0.5) * (towards * turn - facing)
            poses = motions.walking(motions.standing(rng, t), t, x, facing)
            for whose, weight, motion in self.layers:
                if whose == who:
                    poses = overlaid(poses, weight, motion)
            for whose, start_s, end_s, up_s, rise_s in self.falls:
                if whose == who:
                    at = int(start_s * fps)
                    room = self.half_width + x[at] * np.sign(facing[at])  # behind the figure
                    forward = bool(rng.random() < 0.5 or room < 0.8)
                    poses, way = motions.falling(rng, t, poses, start_s, end_s, up_s, rise_s, forward)
                    x = x + way * np.where(facing >= 0, 1.0, -1.0)
            found.append(Actor(x, facing, poses, float(rng.uniform(0.92, 1.05))))
        return found


def passers_by(rng: np.random.Generator, t: Array, half_width: float) -> list[Actor]:
    """Uninvolved people: farther away, or passing near the actors."""
    found = []
    for _ in range(int(rng.choice(3, p=[0.4, 0.4, 0.2]))):
        size = float(rng.uniform(0.4, 0.65) if rng.random() < 0.75 else rng.uniform(0.85, 0.95))
        edge = half_width / size + 0.4
        speed = rng.uniform(0.8, 1.3) * motions.WALKING_SPEED * rng.choice([-1.0, 1.0])
        if size < 0.7 and rng.random() < 0.35:  # standing
            x = rng.uniform(-0.8, 0.8) * half_width / size + 0.03 * wander(rng, t, 6.0)
        else:
            x = -np.sign(speed) * edge + speed * (t - rng.uniform(-3.0, 0.8 * t[-1]))
        facing = np.full(len(t), np.sign(speed) * np.cos(rng.uniform(0.0, 0.7)))
        found.append(Actor(x, facing, motions.walking(motions.standing(rng, t), t, x, facing), size))
    return found


def direct(
    rng: np.random.Generator,
    t: Array,
    fps: float,
    instances: list[Instance],
    half_width: float,
    others: Sequence[str] = (),
) -> list[Actor]:
    """The actors of a clip with these instances, the farthest first.

    half_width: of the picture, in statures. others: of `OTHERS`, what people also do between the instances.
    """
    only_drops = all(instance.label == "drop" for instance in instances)
    pair = _Pair(rng, t, fps, half_width, only_drops and rng.random() < 0.4, others)
    free_from_s = 0.0
    for index, instance in enumerate(instances):
        start_s, end_s = instance.start_s, instance.end_s
        until_s = instances[index + 1].start_s if index + 1 < len(instances) else t[-1] + 1.0
        pair.pass_time(free_from_s, start_s - 0.4)
        free_from_s = end_s + 0.3
        if instance.label == "drop":
            pair.drop(start_s, end_s, until_s)
            free_from_s = until_s
        elif instance.label == "fight":
            pair.fight(start_s, end_s)
        elif instance.label == "sit":
            pair.sit(start_s, end_s)
        else:
            pair.hug(start_s, end_s)
    pair.pass_time(free_from_s, float(t[-1]))
    behind = sorted(passers_by(rng, t, half_width), key=lambda actor: actor.size)
    return behind + pair.actors()
