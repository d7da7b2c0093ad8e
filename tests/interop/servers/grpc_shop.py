"""A shop on grpcio with reflection and health: `grpc_shop.py PORT [CA CERT KEY]` for mutual TLS."""

import sys
from concurrent import futures
from pathlib import Path

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

sys.path.insert(0, str(Path(__file__).parent))
pb, services = grpc.protos_and_services("shop.proto")


class Shop(services.ShopServicer):
    def Echo(self, request, context):  # noqa: N802 - the name is in the .proto file
        return request

    def List(self, request, context):  # noqa: N802 - see Echo
        for number in range(request.to):
            yield pb.Item(name=f"item {number}", amount=number)

    def Fail(self, request, context):  # noqa: N802 - see Echo
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.ErrorInfo(reason="SOLD_OUT", domain="shop.example.com"))
        context.abort_with_status(rpc_status.to_status(status_pb2.Status(code=9, message="sold out", details=[detail])))


server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
services.add_ShopServicer_to_server(Shop(), server)
health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
names = [pb.DESCRIPTOR.services_by_name["Shop"].full_name, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
address = f"127.0.0.1:{sys.argv[1]}"
if len(sys.argv) > 2:
    ca, certificate, key = (Path(path).read_bytes() for path in sys.argv[2:5])
    server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True))
else:
    server.add_insecure_port(address)
server.start()
server.wait_for_termination()
