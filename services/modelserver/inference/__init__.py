"""Each kind of request, run on one loaded version. Knows no gRPC server."""
