"""The `grpc` transport: calls over gRPC."""
