"""Data sets on disk: reading, checking and converting them."""

from infdet_deploy.datasets.folder import DataSet, open_dataset

__all__ = ["DataSet", "open_dataset"]
