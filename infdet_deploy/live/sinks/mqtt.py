"""Events to an MQTT broker; Home Assistant discovers the cameras without configuration.

| topic | payload | |
|---|---|---|
| PREFIX/CAMERA/event | the event; its class also as `event_type` | QoS 1, not retained |
| PREFIX/CAMERA/availability | `online`, or `offline` while the camera is down | QoS 1, retained |
| PREFIX/CLIENT/availability | `online`; `offline` at the end, by last will where the process dies | QoS 1, retained |
| homeassistant/event/PREFIX_CAMERA/action/config | discovery: an event entity, one type a class | QoS 1, retained |
| homeassistant/binary_sensor/PREFIX_CAMERA/active/config | discovery: on for 30 s after every event | QoS 1, retained |
"""

import json
import os
import re
import ssl
import threading
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, unquote

from infdet_deploy import __version__
from infdet_deploy.addresses import split_address
from infdet_deploy.errors import InfdetError, UsageError, missing_package, reason
from infdet_deploy.live.sinks.base import Sink

if TYPE_CHECKING:
    from paho.mqtt.client import Client

TIMEOUT_S = 10.0
PASSWORD = "INFDET_MQTT_PASSWORD"
_EXPECTED = "mqtt://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX] or mqtts://…"
_ACTIVE_S = 30  # how long the binary sensor stays on


class Mqtt(Sink):
    """`mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]`, prefix `infdet` by default; mqtts is TLS, port 8883.

    The environment variable INFDET_MQTT_PASSWORD may contain the password. `mqtts://…?ca=FILE` trusts the authority in
    a PEM file instead of the system's; `&cert=FILE&key=FILE` name a client certificate. Connects in the background,
    with retries. Raises UsageError for a wrong address or PEM file, InfdetError when paho-mqtt is not installed.
    """

    def __init__(self, url: str, cameras: Sequence[str], classes: Sequence[str], bundle: str) -> None:
        parts = split_address(url, "--mqtt is ", ("mqtt", "mqtts"), _EXPECTED)
        port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self.prefix = parts.path.strip("/") or "infdet"
        if re.search(r"[+@\s]", self.prefix):
            raise UsageError("--mqtt: the path after the host cannot begin a topic; leave out +, @ and spaces")
        if len(set(map(topic_name, cameras))) < len(cameras):
            raise UsageError(
                f"--mqtt: cameras {', '.join(cameras)} have the same topic; give them different names with --name"
            )
        self.name = f"mqtt {parts.scheme}://{parts.hostname}:{port}/{self.prefix}"
        # The same cameras give the same client id, so the broker closes the connection of a dead process.
        identity = uuid.uuid5(uuid.NAMESPACE_URL, "\n".join((self.prefix, *sorted(cameras)))).hex[:12]
        self._alive = f"{self.prefix}/client-{identity}/availability"
        self._discovery = discovery(self.prefix, cameras, classes, bundle, self._alive)
        self._online = dict.fromkeys(cameras, True)
        self._connected, self._refused = threading.Event(), ""
        self._client = _new_client(parts, f"infdet-{identity}")
        self._client.will_set(self._alive, "offline", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self._connected.clear()
        self._client.connect_async(parts.hostname or "", port, keepalive=30)
        self._client.loop_start()

    def _on_connect(self, client: "Client", _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self._refused = str(reason)
            return
        for topic, payload in self._discovery.items():
            client.publish(topic, json.dumps(payload), qos=1, retain=True)
        client.publish(self._alive, "online", qos=1, retain=True)
        for camera in self._online:
            self._publish_available(camera)
        self._connected.set()

    def deliver(self, event: dict[str, Any]) -> None:
        if not self._connected.is_set():
            raise InfdetError(f"not connected{f' ({self._refused})' if self._refused else ''}")
        topic = f"{self.prefix}/{topic_name(event['camera'])}/event"
        sent = self._client.publish(topic, json.dumps({"event_type": event["class"], **event}), qos=1)
        sent.wait_for_publish(TIMEOUT_S)
        if not sent.is_published():
            raise InfdetError(f"the broker did not confirm the event within {TIMEOUT_S:.0f} s")

    def camera_available(self, camera: str, available: bool) -> None:
        """Publish the state of a camera; published again after a reconnect."""
        if self._online.get(camera) != available:
            self._online[camera] = available
            if self._connected.is_set():
                self._publish_available(camera)

    def _publish_available(self, camera: str) -> None:
        topic = f"{self.prefix}/{topic_name(camera)}/availability"
        self._client.publish(topic, "online" if self._online[camera] else "offline", qos=1, retain=True)

    def close(self) -> None:
        if self._connected.is_set():
            self._client.publish(self._alive, "offline", qos=1, retain=True).wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()


def _new_client(parts: SplitResult, client_id: str) -> "Client":
    """A client with the address's user, password and certificates."""
    try:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise missing_package("paho-mqtt", "live", "--mqtt") from None
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id)
    client.reconnect_delay_set(1, 60)
    if parts.username:
        password = unquote(parts.password) if parts.password else os.environ.get(PASSWORD)
        client.username_pw_set(unquote(parts.username), password)
    files = dict(parse_qsl(parts.query, keep_blank_values=True))
    known = files.keys() <= {"ca", "cert", "key"} and ("cert" in files or "key" not in files)
    if parts.query and not (files and known and parts.scheme == "mqtts"):
        raise UsageError("--mqtt: the part after ? is not understood; expected mqtts://…?ca=FILE&cert=FILE&key=FILE")
    if parts.scheme == "mqtts":
        try:
            client.tls_set(files.get("ca"), files.get("cert"), files.get("key"))
        except (OSError, ValueError) as error:
            why = "no PEM" if isinstance(error, ssl.SSLError) else reason(error)
            raise UsageError(f"--mqtt: {', '.join(files.values())}: {why}; expected certificates and keys") from None
    return client


def topic_name(camera: str) -> str:
    """A camera's name as a level of a topic and a part of Home Assistant's ids."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", camera).strip("_") or "camera"


def discovery(
    prefix: str, cameras: Iterable[str], classes: Sequence[str], bundle: str, alive: str
) -> dict[str, dict[str, Any]]:
    """Home Assistant's discovery messages, topic → payload. alive: topic of this client's availability."""
    messages: dict[str, dict[str, Any]] = {}
    for camera in cameras:
        level = topic_name(camera)
        node, events = f"{prefix.replace('/', '_')}_{level}", f"{prefix}/{level}/event"
        device = {"identifiers": [node], "name": camera, "manufacturer": "infdet-deploy", "model": bundle}
        common: dict[str, Any] = {
            "state_topic": events,
            "availability": [{"topic": alive}, {"topic": f"{prefix}/{level}/availability"}],
            "availability_mode": "all",
            "device": {**device, "sw_version": __version__},
        }
        action = {"name": "Action", "unique_id": f"{node}_action", "event_types": list(classes)}
        active = {"name": "Active", "unique_id": f"{node}_active", "value_template": "ON", "off_delay": _ACTIVE_S}
        messages[f"homeassistant/event/{node}/action/config"] = common | action
        messages[f"homeassistant/binary_sensor/{node}/active/config"] = (
            common | active | {"json_attributes_topic": events}
        )
    return messages
