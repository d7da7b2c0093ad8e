"""The `grpc` transport."""
