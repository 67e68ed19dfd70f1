"""Requests of each kind, run on one loaded version. No gRPC server in here."""
