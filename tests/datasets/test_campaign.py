"""The short form of tools/campaigns/annotations.py."""

import pytest

from infdet_deploy.datasets.annotations import read_annotations
from infdet_deploy.errors import AnnotationError
from tools.campaigns.annotations import campaign


def test_three_hundred_changed_files_for_each_parser(tmp_path, capfd):
    tallies = campaign(tmp_path, 300, seed=2)
    assert len(tallies) == 7
    for name, tally in tallies.items():
        assert tally.failures == [], name
        assert 10 < tally.counts["accepted"] < 200, name
        assert tally.longest_s < 2


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"results": ' + "9" * 5000 + "}", "a number is too long"),
        ('[{"data": {"video": "a.mp4"}, "annotations": 3}]', "'annotations' is 3, expected a list"),
        ('[{"data": {"video": "a.mp4"}, "annotations": [{"result": 3}]}]', "'result' is 3, expected a list"),
        ('{"database": {"a": {"duration": "' + "x" * 10_000 + '", "annotations": []}}}', " … "),
    ],
)
def test_found_by_the_campaign(tmp_path, text, word):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(AnnotationError) as caught:
        read_annotations(tmp_path / "a.json", fps=25.0)
    assert word in str(caught.value)
    assert len(str(caught.value)) < 900
