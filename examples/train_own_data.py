"""Check a data set, train on it, evaluate: python train_own_data.py DATA RUN [STEPS].

DATA contains `annotations.json` and `videos/`; docs/formats.md lists other formats.
"""

import sys
from pathlib import Path

from infdet_deploy import TrainOptions, check_dataset, evaluate, train


def main(data: str, run: str, steps: str = "360") -> None:
    report = check_dataset(data)
    if report.problems:
        raise SystemExit("\n".join(report.problems))
    print(f"{report.clips} clips, {report.instances} instances of {', '.join(report.classes)}")
    train(data, TrainOptions(preset="small", out=Path(run), steps=int(steps)))
    evaluation = evaluate(run, data)
    print(evaluation.to_dict()["protocols"]["thumos14"]["map"])


if __name__ == "__main__":
    main(*sys.argv[1:])
