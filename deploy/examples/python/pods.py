"""Lists, creates and watches pods over gRPC with mutual TLS, from the .proto files alone.

    pip install -r requirements.txt
    python pods.py /var/lib/reeve/admin.kubeconfig

The stubs are generated at each run; nothing of Reeve but its .proto files is needed.
"""

import base64
import json
import pathlib
import sys
import tempfile
import time
import urllib.parse

import grpc
import yaml
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[3] / "proto" / "proto"


def stubs():
    """Generates the Python modules of the API and imports them."""
    folder = tempfile.mkdtemp()
    files = [str(path) for path in sorted(PROTO.rglob("*.proto"))]
    if protoc.main(["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]) != 0:
        sys.exit("protoc failed")
    sys.path.insert(0, folder)
    from reeve.v1 import api_pb2, api_pb2_grpc

    return api_pb2, api_pb2_grpc


def channel(kubeconfig):
    """Opens the connection that a kubeconfig describes: the server's authority, our certificate and key."""
    config = yaml.safe_load(pathlib.Path(kubeconfig).read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    part = lambda data: base64.b64decode(data)
    credentials = grpc.ssl_channel_credentials(
        part(cluster["certificate-authority-data"]),
        part(user["client-key-data"]),
        part(user["client-certificate-data"]),
    )
    return grpc.secure_channel(urllib.parse.urlparse(cluster["server"]).netloc, credentials)


def main():
    api_pb2, api_pb2_grpc = stubs()
    api = api_pb2_grpc.ApiStub(channel(sys.argv[1]))
    pods = api_pb2.ResourceRef(version="v1", resource="pods", namespace="default")

    listed = list(api.List(api_pb2.ListRequest(resource=pods)))
    for item in (json.loads(raw) for chunk in listed for raw in chunk.objects):
        print("listed", item["metadata"]["name"], item.get("status", {}).get("phase"))

    name = f"from-python-{time.time_ns()}"
    watch = api.Watch(api_pb2.WatchRequest(resource=pods, resource_version=str(listed[0].resource_version)), timeout=60)
    container = {"name": "main", "image": "reeve.local/demo:1", "args": ["sleep", "infinity"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    created = api.Create(api_pb2.CreateRequest(resource=pods, object=json.dumps(pod).encode()))
    print("created", name, "at version", created.resource_version)

    for response in watch:
        for event in response.events:
            if not event.object:
                continue
            item = json.loads(event.object)
            phase = item.get("status", {}).get("phase")
            print("watched", api_pb2.WatchEvent.Type.Name(event.type), item["metadata"]["name"], phase)
            if item["metadata"]["name"] == name and phase == "Running":
                pods.name = name
                api.Delete(api_pb2.DeleteRequest(resource=pods))
                print("deleted", name)
                return


if __name__ == "__main__":
    main()
