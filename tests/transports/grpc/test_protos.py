import pytest

from utcp_bridge.errors import MissingExtra
from utcp_bridge.transports.grpc import protos as grpc_protos
from utcp_bridge.transports.grpc.protos import (
    grpc_module,
    message_class,
    reflection_messages,
    status_message,
    utcp_messages,
)


def test_the_fixed_services_messages_have_the_bytes_of_its_proto_file() -> None:
    request = utcp_messages()["ToolCallRequest"](tool="a", args_json="{}")
    assert request.SerializeToString() == b"\x0a\x01a\x12\x02{}"
    tool = utcp_messages()["Tool"](name="n", tags=["t"])
    assert utcp_messages()["Manual"](tools=[tool]).SerializeToString() == b"\x12\x06\x0a\x01n\x2a\x01t"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_messages_have_the_field_numbers_of_their_proto_file(version: str) -> None:
    messages = reflection_messages(version)
    request = messages["ServerReflectionRequest"](list_services="*")
    assert request.SerializeToString() == b"\x3a\x01*"
    assert request.DESCRIPTOR.full_name == f"grpc.reflection.{version}.ServerReflectionRequest"
    answer = messages["ServerReflectionResponse"].FromString(b"\x32\x05\x0a\x03\x0a\x01s")
    assert [service.name for service in answer.list_services_response.service] == ["s"]


def test_a_status_carries_its_details_as_name_and_bytes() -> None:
    status = status_message().FromString(b"\x08\x09\x12\x01m\x1a\x06\x0a\x01t\x12\x01v")
    assert (status.code, status.message, status.details[0].type_url, status.details[0].value) == (9, "m", "t", b"v")


def test_a_descriptor_has_a_message_class() -> None:
    empty = utcp_messages()["Empty"]
    assert message_class(empty.DESCRIPTOR) is empty


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(grpc_protos, "import_module", refuse)
    with pytest.raises(MissingExtra, match=r"\[grpc\]"):
        grpc_module()
