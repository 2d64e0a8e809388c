"""What a person does in a recording from a ceiling: keyframes of postures and places, and the labels.

The person comes in, walks, sits down and gets up, falls, lies, gets up (which is no `standup` and has no label), and
does things that look alike and have no label: crouching, bending down, turning, waving.
"""

from dataclasses import dataclass, field

import numpy as np

from infdet_deploy.synthetic import ceiling_body as body
from infdet_deploy.synthetic.ceiling_body import Array

CLASSES = ("fall", "sitdown", "standup")
ACTIVITIES = {"sit": 0.42, "fall": 0.38, "other": 0.2}  # how often each is chosen

_OUTSIDE_M = 2.6  # from the middle of the floor: out of sight
_VISIT_S = 15.0  # nothing begins later than this before the end
_REACH_M = 0.8  # activities begin within this distance from the middle


@dataclass(frozen=True)
class Action:
    label: str
    start_s: float
    end_s: float


@dataclass
class Script:
    """Keyframes, filled from the start on. Postures between two of them change smoothly, places evenly.

    speed_m_s: of walking. chair: x, y and the heading in radians of who sits on it; feet stand at x, y.
    """

    rng: np.random.Generator
    speed_m_s: float
    chair: tuple[float, float, float]
    now_s: float
    place: Array = field(default_factory=lambda: np.array([_OUTSIDE_M, 0.0]))
    heading: float = 0.0
    posture: Array = field(default_factory=lambda: body.STAND)
    times_s: list[float] = field(default_factory=list)
    places: list[Array] = field(default_factory=list)  # x, y in metres and heading in radians, continuous
    postures: list[Array] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    seated_s: list[tuple[float, float]] = field(default_factory=list)  # when the chair is being warmed

    def mark(self, after_s: float) -> None:
        """A keyframe of the present state, `after_s` seconds after the last."""
        self.now_s += after_s
        self.times_s.append(self.now_s)
        self.places.append(np.array([*self.place, self.heading]))
        self.postures.append(self.posture)

    def turn(self, heading: float) -> None:
        """Turn the short way round."""
        change = (heading - self.heading + np.pi) % (2 * np.pi) - np.pi
        self.heading += change
        self.mark(0.1 + 0.25 * abs(change))

    def walk(self, target: Array) -> None:
        way = target - self.place
        length = float(np.hypot(*way))
        if length > 0.05:
            self.turn(float(np.arctan2(way[1], way[0])))
            self.place = target
            self.mark(length / self.speed_m_s)

    def take(self, posture: Array, seconds: float) -> None:
        # nobody takes exactly the same posture twice
        self.posture = posture + self.rng.normal(0, 0.012, posture.shape)
        self.mark(seconds)

    def hold(self, shortest_s: float, longest_s: float) -> None:
        self.mark(float(self.rng.uniform(shortest_s, longest_s)))

    def sit(self) -> None:
        """Go to the chair, sit down, sit, stand up."""
        rng, (x, y, heading) = self.rng, self.chair
        self.walk(np.array([x, y]))
        self.turn(heading)
        self.hold(0.1, 2.0)
        turn = rng.normal(0, 0.15)
        self._act("sitdown", [body.turned(body.LEAN, turn), body.turned(body.SIT, turn)], rng.uniform(1.4, 3.2))
        start_s = self.now_s
        self.hold(1.5, 3.5)
        if rng.random() < 0.4:
            self.hold(1.0, 6.0)
        self.seated_s.append((start_s, self.now_s))
        self._act("standup", [body.turned(body.LEAN, turn), body.STAND], rng.uniform(1.6, 3.2))
        self.hold(0.8, 3.0)

    def fall(self) -> bool:
        """Fall, lie, and perhaps get up; whether the person did."""
        rng = self.rng
        towards, curl = rng.uniform(-np.pi, np.pi), rng.uniform(0, 0.6)
        if rng.random() < 0.75:  # into view rather than out of it
            middle = np.arctan2(-self.place[1], -self.place[0]) - self.heading
            towards = float(middle + rng.normal(0, 0.6) + np.pi) % (2 * np.pi) - np.pi
        sideways = abs(np.sin(towards)) > 0.7
        prone = rng.uniform(0, 0.3) if sideways and rng.random() < 0.7 else rng.uniform(0.6, 1.0)
        way = rng.random()
        lies = body.lying(towards, curl, prone, rng.uniform(-0.15, 0.1) if way < 0.5 else rng.uniform(-0.5, 0.0))
        if way < 0.5:  # tips over like a tree, hardly bending
            start = self.posture
            between = [body.tipped(start, towards, angle) for angle in (rng.uniform(0.35, 0.6), rng.uniform(0.9, 1.2))]
            seconds = rng.uniform(1.1, 2.4)
        else:  # collapses, quickly or slowly
            first = body.turned(body.KNEEL if rng.random() < 0.6 else body.CROUCH, rng.normal(0, 0.3))
            seconds = rng.uniform(1.3, 3.6)
            if way > 0.8:  # from the knees, where the person has been for a while
                self.take(first, rng.uniform(0.8, 2.0))
                self.hold(0.5, 4.0)
            between = [first, (first + lies) / 2] if way <= 0.8 else [(first + lies) / 2]
        self._act("fall", [*between, lies], seconds)
        self.hold(1.5, 4.0)
        if rng.random() < 0.4:
            self.hold(1.0, 8.0)
        if rng.random() < 0.12:
            return False
        kneel = body.turned(body.KNEEL, towards)
        self.take((lies + kneel) / 2, rng.uniform(0.6, 1.4))
        self.take(kneel, rng.uniform(0.5, 1.2))
        self.take(body.STAND, rng.uniform(0.7, 1.6))
        self.hold(0.3, 2.0)
        return True

    def other(self) -> None:
        """Something without a label."""
        rng = self.rng
        kind = rng.integers(5)
        if kind < 2:
            self.take(body.CROUCH if kind else body.BEND, rng.uniform(0.6, 1.5))
            self.hold(0.2, 2.5)
            self.take(body.STAND, rng.uniform(0.6, 1.5))
        elif kind == 2:
            self.turn(self.heading + rng.uniform(1.0, 3.0) * rng.choice([-1, 1]))
        elif kind == 3:
            for posture in (body.WAVE, body.STAND) * int(rng.integers(1, 4)):
                self.take(posture, rng.uniform(0.4, 0.8))
        self.hold(0.3, 3.0)

    def _act(self, label: str, postures: list[Array], seconds: float) -> None:
        start_s = self.now_s
        shares = self.rng.dirichlet(np.full(len(postures), 12.0))
        for posture, share in zip(postures, shares, strict=True):
            self.take(posture, seconds * share)
        self.actions.append(Action(label, start_s, self.now_s))


def play(rng: np.random.Generator, duration_s: float) -> Script:
    """A script that lasts at least `duration_s`, and to the end of what was begun by then."""
    angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, _REACH_M)
    chair = (distance * np.cos(angle), distance * np.sin(angle), rng.uniform(-np.pi, np.pi))
    script = Script(rng, rng.uniform(0.5, 1.3), chair, 0.0)
    script.place = _outside(rng)
    script.mark(0.0)
    script.hold(3.0, 12.0)  # the empty room, behind the sensor's warm-up
    only = rng.choice([*ACTIVITIES, ""], p=[0.25, 0.25, 0.1, 0.4])  # often one kind of activity, twice or more
    while duration_s - script.now_s > _VISIT_S and _visit(rng, script, only, duration_s):
        pass
    script.mark(max(duration_s - script.now_s, 1.5))
    return script


def _visit(rng: np.random.Generator, script: Script, only: str, duration_s: float) -> bool:
    """Come in, do something, leave; False for a person who stays on the floor."""
    script.place = _outside(rng)  # comes in elsewhere than the last one left
    script.mark(0.001)
    while True:
        kind = only or rng.choice(list(ACTIVITIES), p=list(ACTIVITIES.values()))
        # Many fall at the border of the picture, where only part of them is seen before.
        script.walk(_inside(rng, *((0.3, 1.3) if kind == "fall" and rng.random() < 0.65 else (0.0, _REACH_M))))
        if kind == "sit":
            script.sit()
        elif kind == "other":
            script.other()
        else:
            if rng.random() < 0.6:
                script.hold(0.2, 2.0)
            if not script.fall():
                return False
        if duration_s - script.now_s < _VISIT_S or rng.random() < 0.5:
            break
    script.walk(_outside(rng))
    script.hold(1.0, 4.0)
    return True


def _inside(rng: np.random.Generator, nearest_m: float, farthest_m: float) -> Array:
    """A place on the floor at a distance from its middle, in metres."""
    angle, distance = rng.uniform(-np.pi, np.pi), rng.uniform(nearest_m, farthest_m)
    return np.array([distance * np.cos(angle), distance * np.sin(angle)])


def _outside(rng: np.random.Generator) -> Array:
    angle = rng.uniform(-np.pi, np.pi)
    return _OUTSIDE_M * np.array([np.cos(angle), np.sin(angle)])
