"""Where events go: a file, a webhook, an MQTT broker, behind one interface (`base.Sink`); and clips of events."""
