"""The short form of tools/campaigns/media.py."""

from tools.campaigns.media import KINDS, campaign, make_recordings


def test_every_kind_of_damage_and_eighty_changes(tmp_path):
    files = make_recordings(tmp_path)
    assert len(KINDS) == 24
    assert len(files) in (7, 8)  # TIFF needs tifffile
    tally = campaign(tmp_path, files, 80, list(KINDS)[::4], seed=3)
    assert tally.failures == []
    assert tally.counts["accepted"] > 40
    assert tally.counts["refused"] > 20
