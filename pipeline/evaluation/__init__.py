"""Measures an exported version: its answers, metrics, mistakes and latency."""
