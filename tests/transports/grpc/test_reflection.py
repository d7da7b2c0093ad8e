import anyio
import grpc
import pytest
from tests.upstreams.grpc_service import GrpcService

from utcp_bridge.errors import ManualError
from utcp_bridge.transports.grpc.reflection import reflect

pytestmark = pytest.mark.anyio


def is_unimplemented(error: Exception) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services_and_their_types_are_learnt_and_the_servers_own_left_out(version: str) -> None:
    async with (
        GrpcService(reflection=version) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        with anyio.fail_after(5):
            known = await reflect(channel, lambda _name: True, is_unimplemented)
    assert known.services == ["shop.Orders"]
    assert (
        known.pool.FindMessageTypeByName("shop.Item").fields_by_name["at"].message_type.full_name
        == "google.protobuf.Timestamp"
    )


async def test_a_service_that_reflection_cannot_describe_does_not_hide_the_others() -> None:
    async with (
        GrpcService(listed=("lost.Service",)) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        with anyio.fail_after(5):
            assert (await reflect(channel, lambda _name: True, is_unimplemented)).services == ["shop.Orders"]
        with pytest.raises(ManualError, match="describes none"), anyio.fail_after(5):
            await reflect(channel, lambda name: name == "lost.Service", is_unimplemented)


async def test_services_that_nobody_wants_are_none() -> None:
    async with GrpcService() as service, grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel:
        with pytest.raises(ManualError, match="service_name"), anyio.fail_after(5):
            await reflect(channel, lambda _name: False, is_unimplemented)


async def test_a_server_without_reflection_names_the_remedy() -> None:
    async with (
        GrpcService(reflection=None) as service,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.port}") as channel,
    ):
        with pytest.raises(ManualError, match="descriptor_set"), anyio.fail_after(5):
            await reflect(channel, lambda _name: True, is_unimplemented)


async def test_other_faults_pass() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:9", options=[("grpc.enable_retries", 0)]) as channel:
        with pytest.raises(grpc.aio.AioRpcError), anyio.fail_after(20):
            await reflect(channel, lambda _name: True, is_unimplemented)
