"""The official Python client against a cluster: what its users do, and what they see.

Arguments: a kubeconfig, and the image of a pod that serves HTTP on port 8080 and has a shell. Each check prints
`ok NAME`; the first that fails ends the script.
"""

import base64
import datetime
import json
import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import leaderelection, electionconfig
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.stream import portforward, stream

NAMESPACE = "python-client"
PATIENCE = 120  # Seconds; it only costs time when a check fails.
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def refused(call, *arguments, **options):
    """The exception with which the API refuses a call, its Status decoded."""
    try:
        call(*arguments, **options)
    except (ApiException, dynamic.exceptions.DynamicApiError) as error:
        error.answer = json.loads(error.body)
        return error
    raise AssertionError(f"{call.__name__} was not refused")


def seen(list_call, holds, *arguments, **options):
    """Watches until an object satisfies a condition."""
    watcher = watch.Watch()
    for event in watcher.stream(list_call, *arguments, timeout_seconds=PATIENCE, **options):
        if holds(event["type"], event["object"]):
            watcher.stop()
            return event["object"]
    raise AssertionError(f"not seen within {PATIENCE} s")


def config_map(name, data, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


def pod(name, image, command=None):
    container = client.V1Container(name="main", image=image, command=command, image_pull_policy="IfNotPresent")
    spec = client.V1PodSpec(containers=[container], termination_grace_period_seconds=1)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": name}), spec=spec)


def is_ready(_kind, object):
    conditions = (object.status and object.status.conditions) or []
    return any(condition.type == "Ready" and condition.status == "True" for condition in conditions)


@check
def version_and_groups(_image):
    version = client.VersionApi().get_code()
    assert (version.major, version.minor) == ("1", "36"), version
    groups = {group.name for group in client.ApisApi().get_api_versions().groups}
    assert {"apps", "batch", "coordination.k8s.io", "events.k8s.io"} <= groups, groups
    resources = {resource.name for resource in client.CoreV1Api().get_api_resources().resources}
    assert {"pods", "pods/exec", "pods/portforward", "configmaps"} <= resources, resources


@check
def objects_live_and_die(_image):
    core = client.CoreV1Api()
    created = core.create_namespaced_config_map(NAMESPACE, config_map("life", {"a": "1"}))
    assert created.metadata.uid and created.metadata.creation_timestamp.tzinfo
    again = refused(core.create_namespaced_config_map, NAMESPACE, config_map("life", {}))
    assert (again.status, again.answer["reason"]) == (409, "AlreadyExists"), again
    assert again.answer["message"] == 'configmaps "life" already exists', again.answer
    core.patch_namespaced_config_map("life", NAMESPACE, {"data": {"b": "2"}})
    created.data = {"a": "late"}
    late = refused(core.replace_namespaced_config_map, "life", NAMESPACE, created)
    assert (late.status, late.answer["reason"]) == (409, "Conflict"), late
    fresh = core.read_namespaced_config_map("life", NAMESPACE)
    fresh.data["c"] = "3"
    assert core.replace_namespaced_config_map("life", NAMESPACE, fresh).data == {"a": "1", "b": "2", "c": "3"}
    tried = core.replace_namespaced_config_map("life", NAMESPACE, config_map("life", {}), dry_run="All")
    assert tried.data is None and core.read_namespaced_config_map("life", NAMESPACE).data
    wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
    assert refused(core.delete_namespaced_config_map, "life", NAMESPACE, body=wrong).status == 409
    assert core.delete_namespaced_config_map("life", NAMESPACE).status == "Success"
    gone = refused(core.read_namespaced_config_map, "life", NAMESPACE)
    assert (gone.status, gone.answer["details"]["name"]) == (404, "life"), gone
    secret = client.V1Secret(metadata=client.V1ObjectMeta(generate_name="made-"), string_data={"word": "open"})
    made = core.create_namespaced_secret(NAMESPACE, secret)
    assert made.metadata.name.startswith("made-") and base64.b64decode(made.data["word"]) == b"open"


@check
def invalid_objects_name_the_field(_image):
    bad = pod("Bad_Name", "i")
    bad.spec.containers[0].ports = [client.V1ContainerPort(container_port=70000)]
    error = refused(client.CoreV1Api().create_namespaced_pod, NAMESPACE, bad)
    fields = {cause["field"] for cause in error.answer["details"]["causes"]}
    assert error.status == 422 and {"metadata.name", "spec.containers[0].ports[0].containerPort"} <= fields, fields
    unknown = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "u"}, "dta": {}}
    error = refused(client.CoreV1Api().create_namespaced_config_map, NAMESPACE, unknown, field_validation="Strict")
    assert error.status == 400 and 'unknown field "dta"' in error.answer["message"], error.answer


@check
def lists_select_and_continue(_image):
    core = client.CoreV1Api()
    for number in range(7):
        labels = {"set": "paged", "odd": str(number % 2)}
        core.create_namespaced_config_map(NAMESPACE, config_map(f"page-{number}", {"n": str(number)}, labels))
    names, token, pages = [], None, 0
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, label_selector="set=paged", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        pages += 1
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(7)] and pages == 3, (names, pages)
    odd = core.list_namespaced_config_map(NAMESPACE, label_selector="set in (paged),odd!=0").items
    assert len(odd) == 3, odd
    one = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=page-4").items
    assert [item.data["n"] for item in one] == ["4"]
    broken = refused(core.list_namespaced_config_map, NAMESPACE, limit=3, _continue="broken")
    assert broken.status == 400, broken
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="set=paged,odd=0")
    left = core.list_namespaced_config_map(NAMESPACE, label_selector="set=paged").items
    assert [item.metadata.name for item in left] == ["page-1", "page-3", "page-5"]


@check
def watches_tell_and_resume(_image):
    core = client.CoreV1Api()
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, config_map("watched", {"n": "0"}, {"watched": "yes"}))
    core.patch_namespaced_config_map("watched", NAMESPACE, {"data": {"n": "1"}})
    core.delete_namespaced_config_map("watched", NAMESPACE)
    options = {"label_selector": "watched=yes", "resource_version": start, "timeout_seconds": PATIENCE}
    events, watcher = [], watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, NAMESPACE, **options):
        events.append((event["type"], event["object"].data["n"]))
        if event["type"] == "DELETED":
            watcher.stop()
    assert events == [("ADDED", "0"), ("MODIFIED", "1"), ("DELETED", "1")], events
    short = watch.Watch().stream(core.list_namespaced_config_map, NAMESPACE, timeout_seconds=1, field_selector="metadata.name=none")
    assert list(short) == [], "a watch without events ends after its time"


@check
def every_kind_of_patch(_image):
    apps = client.AppsV1Api()
    labels = {"app": "patched"}
    containers = [client.V1Container(name="one", image="reeve.local/none:1"), client.V1Container(name="two", image="reeve.local/none:1")]
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=containers))
    spec = client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="patched"), spec=spec))

    deployments = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="apps/v1", kind="Deployment")

    def patched(body, media_type):
        answer = deployments.patch(name="patched", namespace=NAMESPACE, body=body, content_type=media_type).to_dict()
        return {container["name"]: container["image"] for container in answer["spec"]["template"]["spec"]["containers"]}

    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "two", "image": "b"}]}}}}
    assert patched(strategic, "application/strategic-merge-patch+json") == {"one": "reeve.local/none:1", "two": "b"}
    directive = {"spec": {"template": {"spec": {"containers": [{"name": "one", "$patch": "delete"}]}}}}
    assert patched(directive, "application/strategic-merge-patch+json") == {"two": "b"}
    operations = [{"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "two"},
                  {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "c"}]
    assert patched(operations, "application/json-patch+json") == {"two": "c"}
    merge = {"spec": {"template": {"spec": {"containers": [{"name": "three", "image": "d"}]}}}}
    assert patched(merge, "application/merge-patch+json") == {"three": "d"}
    wrong = refused(patched, [{"op": "test", "path": "/spec/replicas", "value": 5}], "application/json-patch+json")
    assert wrong.status == 422, wrong
    assert refused(patched, {}, "application/no-such-patch+json").status == 415
    scale = apps.patch_namespaced_deployment_scale("patched", NAMESPACE, {"spec": {"replicas": 0}})
    assert (scale.kind, scale.status.selector) == ("Scale", "app=patched"), scale


@check
def server_side_apply_knows_owners(_image):
    maps = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1", "b": "1"}}

    def apply(data, manager, **options):
        return maps.server_side_apply(
            {**body, "data": data}, name="applied", namespace=NAMESPACE, field_manager=manager, **options)

    apply({"a": "1", "b": "1"}, "first")
    apply({"c": "1"}, "second")
    conflict = refused(apply, {"a": "2"}, "second")
    assert conflict.status == 409, conflict
    (cause,) = conflict.answer["details"]["causes"]
    assert cause["field"] == ".data.a" and cause["message"].startswith('conflict with "first"'), cause
    forced = apply({"a": "2", "c": "1"}, "second", force_conflicts=True)
    owners = {entry["manager"]: entry["fieldsV1"]["f:data"] for entry in forced.to_dict()["metadata"]["managedFields"]}
    assert owners == {"first": {"f:b": {}}, "second": {"f:a": {}, "f:c": {}}}, owners
    assert apply({}, "first").to_dict()["data"] == {"a": "2", "c": "1"}, "what its only owner drops is gone"


@check
def custom_resources(_image):
    extensions, objects = client.ApiextensionsV1Api(), client.CustomObjectsApi()
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "colour": {"type": "string", "default": "red"}}},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.python.example.com"},
        "spec": {"group": "python.example.com", "scope": "Namespaced",
                 "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
                 "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
                               "subresources": {"status": {}}}]}}
    extensions.create_custom_resource_definition(definition)

    def established(_kind, object):
        conditions = object.status.conditions or []
        return any(condition.type == "Established" and condition.status == "True" for condition in conditions)

    selector = "metadata.name=widgets.python.example.com"
    seen(extensions.list_custom_resource_definition, established, field_selector=selector)
    place = ("python.example.com", "v1", NAMESPACE, "widgets")
    widget = {"apiVersion": "python.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1, "extra": 1}}
    created = objects.create_namespaced_custom_object(*place, widget)
    assert created["spec"] == {"size": 1, "colour": "red"}, created
    small = refused(objects.patch_namespaced_custom_object, *place, "w", {"spec": {"size": 0}})
    assert small.status == 422 and small.answer["details"]["causes"][0]["field"] == "spec.size", small.answer
    ready = objects.patch_namespaced_custom_object_status(*place, "w", {"spec": {"size": 9}, "status": {"ready": True}})
    assert ready["status"] == {"ready": True} and ready["spec"]["size"] == 1, ready
    assert [item["metadata"]["name"] for item in objects.list_namespaced_custom_object(*place)["items"]] == ["w"]
    objects.delete_namespaced_custom_object(*place, "w")
    extensions.delete_custom_resource_definition("widgets.python.example.com")
    left = extensions.list_custom_resource_definition(field_selector=selector)
    if left.items:
        seen(extensions.list_custom_resource_definition, lambda kind, _object: kind == "DELETED", field_selector=selector,
             resource_version=left.metadata.resource_version)


@check
def pods_run_answer_and_log(image):
    core = client.CoreV1Api()
    core.create_namespaced_pod(NAMESPACE, pod("server", image))
    running = seen(core.list_namespaced_pod, is_ready, NAMESPACE, field_selector="metadata.name=server")
    assert running.status.pod_ip and running.spec.node_name
    assert "listens on port 8080" in core.read_namespaced_pod_log("server", NAMESPACE)
    assert len(core.read_namespaced_pod_log("server", NAMESPACE, tail_lines=1).splitlines()) == 1
    event = seen(core.list_namespaced_event, lambda _kind, object: object.reason == "Started", NAMESPACE,
                 field_selector="involvedObject.name=server")
    assert event.type == "Normal" and event.source.component == "kubelet", event
    told = core.list_namespaced_event(NAMESPACE, field_selector="involvedObject.name=server").items
    assert {"Scheduled", "Created", "Started"} <= {event.reason for event in told}, told


@check
def exec_over_websocket(_image):
    core = client.CoreV1Api()
    call = core.connect_get_namespaced_pod_exec
    options = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
    said = stream(call, "server", NAMESPACE, command=["sh", "-c", "echo one && echo two"], **options)
    assert said == "one\ntwo\n", said
    open_stream = stream(call, "server", NAMESPACE, command=["sh"], _preload_content=False, **{**options, "stdin": True})
    open_stream.write_stdin("echo $HOSTNAME of words\n")
    assert open_stream.readline_stdout(timeout=PATIENCE) == "server of words"
    open_stream.write_stdin("no-such-program\n")
    assert "no-such-program" in open_stream.readline_stderr(timeout=PATIENCE)
    open_stream.write_stdin("exit 3\n")
    open_stream.run_forever(timeout=PATIENCE)
    assert open_stream.returncode == 3, open_stream.returncode
    try:
        stream(call, "server", NAMESPACE, command=["true"], container="none", **options)
        raise AssertionError("not refused")
    except (ApiException, AttributeError) as error:
        # The client stumbles over a refused handshake, which has no body for it; the cause is in what it stumbled over.
        told = f"{error} {error.__context__}"
        assert "400 Bad Request" in told and "container none is not valid for pod server" in told, told


@check
def port_forward_carries_bytes(_image):
    forward = portforward(client.CoreV1Api().connect_get_namespaced_pod_portforward, "server", NAMESPACE, ports="8080")
    socket = forward.socket(8080)
    socket.settimeout(PATIENCE)
    socket.sendall(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
    answer = b""
    while True:
        piece = socket.recv(4096)
        if not piece:
            break
        answer += piece
    assert answer.startswith(b"HTTP/1.1 200") and b"server version=1" in answer, answer
    assert forward.error(8080) is None, forward.error(8080)


@check
def deployments_and_jobs_come_to_an_end(image):
    apps, batch = client.AppsV1Api(), client.BatchV1Api()
    labels = {"app": "two"}
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod("two", image).spec)
    spec = client.V1DeploymentSpec(replicas=2, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(metadata=client.V1ObjectMeta(name="two"), spec=spec))
    seen(apps.list_namespaced_deployment, lambda _kind, object: object.status.available_replicas == 2, NAMESPACE,
         field_selector="metadata.name=two")
    owned = client.CoreV1Api().list_namespaced_pod(NAMESPACE, label_selector="app=two").items
    assert {pod.metadata.owner_references[0].kind for pod in owned} == {"ReplicaSet"}
    job_pod = pod("job", image, ["sh", "-c", "echo done"]).spec
    job_pod.restart_policy = "Never"
    job = client.V1Job(metadata=client.V1ObjectMeta(name="once"), spec=client.V1JobSpec(template=client.V1PodTemplateSpec(spec=job_pod)))
    made = batch.create_namespaced_job(NAMESPACE, job)
    assert made.spec.template.metadata.labels["batch.kubernetes.io/job-name"] == "once", made.spec.template.metadata
    cron = client.V1CronJob(metadata=client.V1ObjectMeta(name="never"), spec=client.V1CronJobSpec(
        schedule="0 0 31 2 *", suspend=True, job_template=client.V1JobTemplateSpec(spec=job.spec)))
    assert batch.create_namespaced_cron_job(NAMESPACE, cron).spec.concurrency_policy == "Allow"


@check
def leader_election(_image):
    led = []

    def candidate(name):
        lock = ConfigMapLock("election", NAMESPACE, name)
        settings = electionconfig.Config(
            lock, lease_duration=30, renew_deadline=20, retry_period=1, onstarted_leading=lambda: led.append(name),
            onstopped_leading=None)
        threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()

    def record(object):
        return json.loads(object.metadata.annotations["control-plane.alpha.kubernetes.io/leader"])

    core = client.CoreV1Api()
    here = {"namespace": NAMESPACE, "field_selector": "metadata.name=election"}
    candidate("first")
    taken = record(seen(core.list_namespaced_config_map, lambda _kind, object: True, **here))
    candidate("second")
    renewed = seen(core.list_namespaced_config_map, lambda _kind, object: record(object)["renewTime"] > taken["renewTime"], **here)
    assert record(renewed)["holderIdentity"] == taken["holderIdentity"] == "first" and led == ["first"], (renewed, led)


@check
def leases_have_one_holder(_image):
    coordination = client.CoordinationV1Api()
    now = datetime.datetime.now(datetime.timezone.utc)
    spec = client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15, acquire_time=now, renew_time=now)
    made = coordination.create_namespaced_lease(NAMESPACE, client.V1Lease(metadata=client.V1ObjectMeta(name="held"), spec=spec))
    assert made.spec.renew_time == now, "times of leases keep their microseconds"
    mine = coordination.read_namespaced_lease("held", NAMESPACE)
    mine.spec.holder_identity = "b"
    assert coordination.replace_namespaced_lease("held", NAMESPACE, mine).spec.holder_identity == "b"
    made.spec.holder_identity = "c"
    assert refused(coordination.replace_namespaced_lease, "held", NAMESPACE, made).status == 409
    negative = {"spec": {"leaseDurationSeconds": -1}}
    error = refused(coordination.patch_namespaced_lease, "held", NAMESPACE, negative)
    assert error.answer["details"]["causes"][0]["field"] == "spec.leaseDurationSeconds", error.answer


@check
def tokens_and_reviews(_image):
    core = client.CoreV1Api()
    seen(core.list_namespaced_service_account, lambda _kind, object: object.metadata.name == "default", NAMESPACE)
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    token = core.create_namespaced_service_account_token("default", NAMESPACE, request).status.token
    settings = client.Configuration.get_default_copy()
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": f"Bearer {token}"}
    as_account = client.ApiClient(settings)
    me = client.AuthenticationV1Api(as_account).create_self_subject_review({"metadata": {}})
    assert me.status.user_info.username == f"system:serviceaccount:{NAMESPACE}:default", me
    error = refused(client.CoreV1Api(as_account).list_namespaced_secret, NAMESPACE)
    assert error.status == 403 and 'cannot list resource "secrets"' in error.answer["message"], error.answer
    review = {"spec": {"resourceAttributes": {"namespace": NAMESPACE, "verb": "list", "resource": "secrets"}}}
    assert client.AuthorizationV1Api(as_account).create_self_subject_access_review(review).status.allowed is False
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed is True


def main():
    kubeconfig, image = sys.argv[1:3]
    config.load_kube_config(kubeconfig)
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    try:
        for function in CHECKS:
            started = datetime.datetime.now()
            function(image)
            seconds = (datetime.datetime.now() - started).total_seconds()
            print(f"ok {function.__name__} ({seconds:.1f} s)", flush=True)
    finally:
        core.delete_namespace(NAMESPACE)


if __name__ == "__main__":
    main()
