"""Traces: spans of our own, handed to OpenTelemetry's exporter, which is imported only where they are on."""
