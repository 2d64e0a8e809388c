"""Names from outside on terminals and in file names, and addresses whose passwords nobody may see."""

import io
import sys

import pytest

from infdet_deploy import console
from infdet_deploy.addresses import redacted, split_address
from infdet_deploy.errors import UsageError, VideoError
from infdet_deploy.live.sinks.mqtt import Mqtt
from infdet_deploy.live.sinks.webhook import Webhook
from infdet_deploy.live.sources.address import Address
from infdet_deploy.text import file_name, prepare_output, visible


def test_control_characters_and_other_encodings_become_visible():
    assert visible("Küche, 前門: 50 %") == "Küche, 前門: 50 %"
    assert visible("a\x1b[31m\nb\0\u202ec\udce9\x9b") == r"a\x1b[31m\nb\x00\u202ec\udce9\x9b"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hall_01", "hall_01"),
        ("v.1 Küche", "v.1 Küche"),
        ("../evil", "%2E.%2Fevil"),
        ("/etc/x", "%2Fetc%2Fx"),
        ("..", "%2E."),
        ("a\\b", "a%5Cb"),
        ("a%2Fb", "a%252Fb"),
        ("a\0\n\x1b\udce9", "a%00%0A%1B%ED%B3%A9"),
        ("", "%"),
    ],
)
def test_a_name_is_one_file_in_its_folder(tmp_path, name, expected):
    assert file_name(name) == expected
    (tmp_path / file_name(name)).touch()
    assert [path.name for path in tmp_path.iterdir()] == [expected]


def test_long_names_stay_apart(tmp_path):
    names = [file_name("é" * 300 + end) for end in "ab"]
    assert names[0] != names[1]
    for name in names:
        (tmp_path / f"{name}.mp4.json").touch()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://camera:554/ch1", "rtsp://camera:554/ch1"),
        ("rtsp://user:secret@camera:554/ch1?token=secret", "rtsp://camera:554/ch1?…"),
        ("rtsp://user:s/ecret@camera/ch1", "rtsp://…"),
        ("rtsp://user:12/secret@camera/ch1", "rtsp://…"),
        ("rtsp://user:s#ecret@camera/ch1", "rtsp://…"),
        ("rtsp://user:s?ecret@camera/ch1", "rtsp://…"),
        ("rtsp://user:s@ecret@camera/ch1", "rtsp://camera/ch1"),
        ("rtsp://user:s[ecret@camera/ch1", "rtsp://camera/ch1"),
        ("rtsp://user:secret", "rtsp://…"),
        ("rtsp:/user:secret@camera/ch1", "rtsp:/camera/ch1"),
        ("rtsp://10.0.0.7:554/user=admin_password=secret_channel=1.sdp?real", "rtsp://10.0.0.7:554/…?…"),
        ("http://camera/live;secret", "http://camera/live?…"),
        ("http://camera/?to=a@b&pw=secret", "http://…"),
        ("http://[::1]:80/x\n", "http://[::1]:80/x\\n"),
        ("user:secret@camera/ch1", "…"),
        ("v4l2:/dev/video0", "v4l2:/dev/video0"),
        ("night 1.mp4", "night 1.mp4"),
    ],
)
def test_addresses_are_shown_without_secrets(address, shown):
    assert redacted(address) == shown


@pytest.mark.parametrize("password", ["s/ecret", "s#ecret", "s?ecret", "12/secret", "12?secret", "s ecret", "s[ecret"])
def test_a_password_with_wrong_characters_is_refused_with_advice(password):
    def refused(make, *parts):
        with pytest.raises(UsageError, match="user or password as %2F %3F %23") as error:
            make(*parts)
        assert not any(part in str(error.value) for part in ("secret", "ecret", "12", "admin"))

    refused(Address.of, f"rtsp://admin:{password}@10.0.0.7/s")
    refused(Mqtt, f"mqtt://admin:{password}@10.0.0.7/s", ["a"], ["b"], "c")
    refused(Webhook, f"https://admin:{password}@10.0.0.7/s")


def test_secrets_in_other_places():
    address = Address.of("rtsp://10.0.0.7/user=admin_password=secret_channel=1.sdp")
    assert (address.shown, address.name) == ("rtsp://10.0.0.7/…", "10.0.0.7")
    assert Address.of("http://camera/x?mail=a@b").name == "http"
    assert (
        Webhook("https://u:secret@hooks.example:8443/services/secret?t=secret").name
        == "webhook https://hooks.example:8443"
    )
    for make in (Address.of, lambda text: Webhook(text), lambda text: Mqtt(text, ["a"], ["b"], "c")):
        for text in ("admin:secret@10.0.0.7/s", "rtmp://admin:secret@10.0.0.7/s", "rtsp://admin:secret"):
            with pytest.raises((UsageError, VideoError)) as error:
                make(text)
            assert "secret" not in str(error.value)
    with pytest.raises(UsageError, match=r"the part after \? is not understood") as error:
        Mqtt("mqtts://host?password=secret", ["a"], ["b"], "c")
    assert "secret" not in str(error.value)


def test_a_password_from_the_environment(monkeypatch):
    monkeypatch.setenv("CAM_PASSWORD", "p#s/s@")
    address = Address.of("rtsp://admin:${CAM_PASSWORD}@10.0.0.7/s")
    assert (address.target, address.shown) == ("rtsp://admin:p%23s%2Fs%40@10.0.0.7/s", "rtsp://10.0.0.7/s")
    assert split_address("mqtt://u:${CAM_PASSWORD}@h", "", ("mqtt",), "").password == "p%23s%2Fs%40"
    with pytest.raises(UsageError, match="there is no environment variable NOT_SET; set it"):
        Address.of("rtsp://admin:${NOT_SET}@10.0.0.7/s")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_tables_in_any_encoding(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    prepare_output()
    console.table("Küche × 2: \udce9", ["class–a", "\x1b[31m"], [["[/red]前門", "–"], ["b\nc", "1"]])
    out.flush()
    lines = out.buffer.getvalue().decode(encoding).splitlines()
    assert lines[0] == {"ascii": "Kuche x 2: ", "latin-1": "Küche × 2: ", "utf-8": "Küche × 2: "}[encoding] + r"\udce9"
    assert "\x1b" not in "".join(lines)
    assert any(("[/red]前門" if encoding == "utf-8" else "[/red]??") in line for line in lines)
    assert any(r"b\nc" in line for line in lines)
