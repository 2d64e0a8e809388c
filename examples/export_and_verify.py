"""Export a run as a bundle and compare the bundle with its network: python export_and_verify.py RUN NAME.infdet."""

import sys

from infdet_deploy import export, verify


def main(run: str, bundle: str) -> None:
    result = export(run, bundle)  # float32; ExportOptions(precisions=("float32", "float16")) adds float16
    for stage in result.stages:
        print(f"{stage.stage} {stage.precision}: relative L2 {max(stage.errors.values()):.1e}")
    verification = verify(bundle)
    print("passed" if verification.passed else "out of tolerance")


if __name__ == "__main__":
    main(*sys.argv[1:])
