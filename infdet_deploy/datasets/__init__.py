"""Data sets on disk: what a folder holds, what is wrong in it, other formats of the same."""

from infdet_deploy.datasets.folder import DataSet, open_dataset

__all__ = ["DataSet", "open_dataset"]
