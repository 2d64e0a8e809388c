"""Evaluation of detection files, checkpoints and bundles on a data set."""
