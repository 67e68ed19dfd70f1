"""Views of one version: where it errs, what uses it, its files."""
