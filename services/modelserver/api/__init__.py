"""The gRPC services that the model server offers."""
