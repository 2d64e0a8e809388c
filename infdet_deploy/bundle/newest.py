"""The bundle that a command uses when none is named."""

from pathlib import Path


def newest_bundle() -> Path | None:
    """The bundle in this folder that was written last, None where there is none."""
    here = sorted(Path.cwd().glob("*.infdet"), key=lambda path: path.stat().st_mtime_ns)
    return here[-1].relative_to(Path.cwd()) if here else None
