"""What a generic gRPC tool does, knowing nothing of Reeve: asks for the server's health and its
services by reflection, builds a request from the descriptors that it got, and calls.

    python reflect.py KUBECONFIG
"""

import base64
import json
import pathlib
import sys
import urllib.parse

import grpc
import yaml
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def channel(kubeconfig):
    config = yaml.safe_load(pathlib.Path(kubeconfig).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    names = (cluster, "certificate-authority-data"), (user, "client-key-data"), (user, "client-certificate-data")
    credentials = grpc.ssl_channel_credentials(*(base64.b64decode(part[name]) for part, name in names))
    return grpc.secure_channel(urllib.parse.urlparse(cluster["server"]).netloc, credentials)


def main():
    connection = channel(sys.argv[1])
    health = health_pb2_grpc.HealthStub(connection)
    for service in ("", "reeve.v1.Api"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        print("health", repr(service), health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    try:
        health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
    except grpc.RpcError as error:
        print("health of no.such.Service", error.code().name)

    database = ProtoReflectionDescriptorDatabase(connection)
    for service in sorted(database.get_services()):
        print("service", service)
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName("reeve.v1.Api").methods_by_name["Get"]
    request = message_factory.GetMessageClass(method.input_type)()
    request.resource.version, request.resource.resource = "v1", "namespaces"
    request.resource.name = "default"
    call = connection.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    print("called", json.loads(call(request, timeout=10).object)["metadata"]["name"])


if __name__ == "__main__":
    main()
