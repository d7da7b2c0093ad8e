"""Details of gRPC errors, built by the standard messages."""

from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from utcp_bridge.transports.grpc.details import decode_details, retry_after


def metadata(*details) -> list[tuple[str, bytes]]:
    status = status_pb2.Status(code=3)
    for detail in details:
        packed = detail if isinstance(detail, any_pb2.Any) else any_pb2.Any()
        if packed is not detail:
            packed.Pack(detail)
        status.details.append(packed)
    return [("other", b"x"), ("grpc-status-details-bin", status.SerializeToString())]


def test_standard_details_are_read_whole() -> None:
    bad = error_details_pb2.BadRequest(field_violations=[{"field": "n", "description": "too small"}])
    why = error_details_pb2.ErrorInfo(reason="QUOTA", domain="example.com", metadata={"limit": "5"})
    assert decode_details(metadata(bad, why)) == [
        {"@type": "google.rpc.BadRequest", "fieldViolations": [{"field": "n", "description": "too small"}]},
        {"@type": "google.rpc.ErrorInfo", "reason": "QUOTA", "domain": "example.com", "metadata": {"limit": "5"}},
    ]


def test_unknown_and_broken_details_keep_their_type_and_size() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/shop.Lost", value=b"abc")
    broken = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    assert decode_details(metadata(unknown, broken)) == [
        {"@type": "shop.Lost", "bytes": 3},
        {"@type": "google.rpc.ErrorInfo", "bytes": 2},
    ]
    assert decode_details([("grpc-status-details-bin", b"\xff\xff\xff")]) == []


def test_the_time_to_wait_is_found() -> None:
    wait = error_details_pb2.RetryInfo()
    wait.retry_delay.FromSeconds(7)
    assert retry_after(decode_details(metadata(wait))) == 7
    assert retry_after([{"@type": "google.rpc.ErrorInfo"}]) is None
    assert retry_after([{"@type": "google.rpc.RetryInfo", "retryDelay": "soon"}]) is None
