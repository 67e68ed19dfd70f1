"""The system as images and compose file make it, on a real container engine: `make test-containers`."""
