"""Where events go: one file a sink, behind one interface (`base.Sink`)."""
