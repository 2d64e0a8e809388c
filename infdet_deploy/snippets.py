"""How many snippets a clip has: the arithmetic that training, export and runtime share."""

FRAMES_PER_SNIPPET = 8  # the towers' temporal stride, `l` in the paper
STEP_FRAMES = 32  # frames of a stream's step: fewer come sooner, more cost less each
MIN_FRAMES = 16  # the shortest clip that gives one feature with all of its taps on real frames


def valid_length(frames: int) -> int:
    """⌊T/8⌋, the number of snippets that labels and time stamps count."""
    return frames // FRAMES_PER_SNIPPET


def feature_length(frames: int) -> int:
    """T', the number of features that a tower gives for `frames` frames (SAME padding, then a pool of 2)."""
    return max(-(-frames // FRAMES_PER_SNIPPET) - 1, 0)
