"""Find actions in one recording: python detect_file.py NAME.infdet night.mp4."""

import sys

from infdet_deploy import Detector


def main(bundle: str, recording: str) -> None:
    with Detector(bundle) as detector:
        for action in detector.detect(recording):
            print(f"{action.label}: {action.start_s:.2f} to {action.end_s:.2f} s, score {action.score:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
