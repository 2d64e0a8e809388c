"""Recognition's figures, by hand."""

import numpy as np
import pytest

from infdet_deploy.detections import clip_score
from infdet_deploy.errors import UsageError
from infdet_deploy.metrics.recognition import average_precision, evaluate_recognition


def test_a_clip_has_the_mean_of_its_snippets():
    assert clip_score(np.array([[0.2, 0.9], [0.4, 0.5]], np.float32)).tolist() == pytest.approx([0.3, 0.7])


def test_average_precision():
    # ranked: hit, miss, hit, miss → (1/1 + 2/3) / 2
    assert average_precision([0.9, 0.1, 0.8, 0.7], [True, False, False, True]) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([0.1, 0.2], [True, False]) == 0.5
    with pytest.raises(UsageError, match="without clips"):
        average_precision([0.1], [False])


def test_accuracy_and_confusion():
    scores = [[0.9, 0.1, 0.0], [0.2, 0.7, 0.0], [0.6, 0.5, 0.0], [0.1, 0.8, 0.0]]
    result = evaluate_recognition(scores, ["wave", "sit", "sit", "sit"], ("wave", "sit", "run")).to_dict()
    assert result["accuracy"] == 0.75
    assert result["ap"] == {"wave": 1.0, "sit": 1.0, "run": None}
    assert result["map"] == 1.0
    assert result["confusion"]["sit"] == {"wave": 1, "sit": 2, "run": 0}
    assert result["confusion"]["run"] == {"wave": 0, "sit": 0, "run": 0}


@pytest.mark.parametrize(
    ("labels", "said"),
    [([], "at least one"), (["wave", "sit"], "equal numbers"), (["fly"], "class 'fly' is not one of")],
)
def test_refused(labels, said):
    with pytest.raises(UsageError, match=said):
        evaluate_recognition([[0.1, 0.2]] if labels else [], labels, ("wave", "sit"))
