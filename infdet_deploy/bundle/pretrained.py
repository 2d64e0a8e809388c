"""The network that is installed with the package, as a bundle: small, and trained on synthetic scenes only.

Wherever a bundle or a checkpoint is expected, the word `pretrained` stands for it, unless a file of that name exists.
`tools/pretrained.py` has the commands that made it.
"""

from pathlib import Path

from infdet_deploy.errors import UsageError

PRETRAINED = "pretrained"
FOLDER = Path(__file__).parents[1] / "pretrained.infdet"
NOTE = "the pretrained network has seen synthetic scenes only; train on recordings of your own before you rely on it"


def bundle_folder(path: Path | str) -> Path:
    """The folder of a bundle: the installed one for the word `pretrained`, else `path`."""
    return FOLDER if str(path) == PRETRAINED and not Path(path).exists() else Path(path)


def refuse_pretrained(path: Path) -> None:
    """Raise UsageError if the installed bundle would be changed."""
    if path.resolve() == FOLDER:
        raise UsageError(
            "the pretrained network belongs to the installation and is not changed; write a bundle of your own with "
            "`infdet-deploy export pretrained`"
        )
