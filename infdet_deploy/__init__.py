"""Infrared temporal action detection: train, export, verify, benchmark, run.

>>> from infdet_deploy import Detector
>>> with Detector("NAME.infdet") as detector:
...     for action in detector.detect("night.mp4"):
...         print(action.label, action.start_s, action.end_s, action.score)

The public names are listed in `__init__.pyi`. Each is imported when it is first used: `import infdet_deploy` is quick,
and a device that only runs bundles needs no torch.
"""

__version__ = "0.2.0.dev0"

_modules = {}  # public name → its module


def _public():
    """Read the list of public names, which type checkers read too."""
    if not _modules:
        import ast
        from pathlib import Path

        tree = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
        imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
        _modules.update({alias.name: node.module for node in imports for alias in node.names})
    return _modules


def __getattr__(name):
    if name == "__all__":
        return ["__version__", *_public()]
    if name.startswith("_") or name not in _public():
        raise AttributeError(f"module 'infdet_deploy' has no attribute '{name}'")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_public()[name]), name)
    return value


def __dir__():
    return sorted(__getattr__("__all__"))
