"""What programs do with Python's `kubernetes` package: typed and dynamic clients, watches,
an informer, leader election.

    target/tools/clients/python/bin/python tests/clients/client.py KUBECONFIG NAMESPACE

Needs a namespace of its own, which it fills and empties. Prints a line for each step, and ends
with a traceback at the first that goes wrong.
"""

import datetime
import sys
import threading
import uuid

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.informer import SharedInformer
from kubernetes.informer.informer import ADDED, DELETED, MODIFIED
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

PATIENCE = 60


def refused(code, reason, call, *args, **options):
    """The call must fail, with this code and reason."""
    try:
        call(*args, **options)
    except ApiException as error:
        assert error.status == code, (error.status, code, error.body)
        assert f'"{reason}"' in error.body, error.body
    else:
        raise AssertionError(f"{call} did not fail")


def config_map(name, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"by": "python"}), data=data)


def typed(ns):
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map(ns, config_map("typed", a="1"))
    assert made.metadata.uid and isinstance(made.metadata.creation_timestamp, datetime.datetime)
    refused(409, "AlreadyExists", core.create_namespaced_config_map, ns, config_map("typed"))
    refused(404, "NotFound", core.read_namespaced_config_map, "none", ns)
    refused(422, "Invalid", core.create_namespaced_config_map, ns, config_map("Not_A_Name"))

    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("typed", ns, made)
    refused(409, "Conflict", core.replace_namespaced_config_map, "typed", ns, made)
    patched = core.patch_namespaced_config_map("typed", ns, {"data": {"a": None, "c": "3"}})
    assert patched.data == {"b": "2", "c": "3"}, patched.data
    operations = [{"op": "replace", "path": "/data/b", "value": "4"}]
    patched = core.patch_namespaced_config_map("typed", ns, operations)
    assert patched.data["b"] == "4", patched.data
    assert int(patched.metadata.resource_version) > int(replaced.metadata.resource_version)

    apps = client.AppsV1Api()
    labels = {"app": "typed"}
    container = client.V1Container(name="main", image="hello:v1")
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template)
    apps.create_namespaced_deployment(ns, client.V1Deployment(metadata=client.V1ObjectMeta(name="typed"), spec=spec))
    scale = apps.read_namespaced_deployment_scale("typed", ns)
    assert scale.spec.replicas == 0
    scaled = apps.patch_namespaced_deployment_scale("typed", ns, {"spec": {"replicas": 1}})
    assert scaled.spec.replicas == 1
    apps.patch_namespaced_deployment_scale("typed", ns, {"spec": {"replicas": 0}})
    apps.delete_namespaced_deployment("typed", ns, propagation_policy="Foreground")

    dry = core.create_namespaced_config_map(ns, config_map("dry"), dry_run="All")
    assert dry.metadata.uid
    refused(404, "NotFound", core.read_namespaced_config_map, "dry", ns)


def pages(ns):
    core = client.CoreV1Api()
    for i in range(7):
        core.create_namespaced_config_map(ns, config_map(f"page-{i}"))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(ns, limit=3, _continue=token, label_selector="by=python")
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert [n for n in names if n.startswith("page-")] == [f"page-{i}" for i in range(7)], names
    core.delete_collection_namespaced_config_map(ns, label_selector="by=python")
    assert not core.list_namespaced_config_map(ns, label_selector="by=python").items


def watches(ns):
    core = client.CoreV1Api()
    version = core.list_namespaced_config_map(ns).metadata.resource_version

    def write():
        core.create_namespaced_config_map(ns, config_map("watched"))
        core.patch_namespaced_config_map("watched", ns, {"data": {"a": "1"}})
        core.delete_namespaced_config_map("watched", ns)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    stream = watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map, ns, resource_version=version, timeout_seconds=PATIENCE,
        field_selector="metadata.name=watched",
    ):
        seen.append(event["type"])
        if event["type"] == "DELETED":
            stream.stop()
    writer.join()
    assert seen == ["ADDED", "MODIFIED", "DELETED"], seen


def dynamically(ns):
    dyn = dynamic.DynamicClient(client.ApiClient())
    maps = dyn.resources.get(api_version="v1", kind="ConfigMap")
    deployments = dyn.resources.get(api_version="apps/v1", kind="Deployment")
    assert deployments.namespaced and "patch" in deployments.verbs
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dynamic"}, "data": {"a": "1"}}
    made = maps.create(body=body, namespace=ns)
    patch = {"data": {"b": "2"}}
    patched = maps.patch(name="dynamic", namespace=ns, body=patch, content_type="application/merge-patch+json")
    assert patched.data.to_dict() == {"a": "1", "b": "2"}
    assert [i.metadata.name for i in maps.get(namespace=ns, label_selector="!by").items if i.metadata.name == "dynamic"]
    for event in maps.watch(namespace=ns, name="dynamic", resource_version=0, timeout=PATIENCE):
        assert event["object"].metadata.uid == made.metadata.uid
        break
    maps.delete(name="dynamic", namespace=ns, body={"propagationPolicy": "Background"})


def informer(ns):
    core = client.CoreV1Api()
    seen, changed = [], threading.Condition()

    def note(kind):
        def handler(obj):
            with changed:
                seen.append((kind, obj.metadata.name))
                changed.notify_all()

        return handler

    def wait_for(event):
        with changed:
            assert changed.wait_for(lambda: event in seen, PATIENCE), (event, seen)

    core.create_namespaced_config_map(ns, config_map("informed-1"))
    shared = SharedInformer(core.list_namespaced_config_map, namespace=ns, label_selector="by=python")
    for kind in (ADDED, MODIFIED, DELETED):
        shared.add_event_handler(kind, note(kind))
    shared.start()
    wait_for((ADDED, "informed-1"))
    core.create_namespaced_config_map(ns, config_map("informed-2"))
    wait_for((ADDED, "informed-2"))
    core.patch_namespaced_config_map("informed-1", ns, {"data": {"a": "1"}})
    wait_for((MODIFIED, "informed-1"))
    core.delete_namespaced_config_map("informed-2", ns)
    wait_for((DELETED, "informed-2"))
    names = {obj.metadata.name for obj in shared.cache.list()}
    assert names == {"informed-1"}, names
    shared.stop()
    core.delete_namespaced_config_map("informed-1", ns)


def elections(ns):
    for name, lock in (("lease", LeaseLock), ("map", ConfigMapLock)):
        leading = threading.Event()
        settings = electionconfig.Config(
            lock(f"election-{name}", ns, str(uuid.uuid4())),
            lease_duration=17, renew_deadline=15, retry_period=5,
            onstarted_leading=leading.set, onstopped_leading=None,
        )
        # It never returns by itself while it leads.
        threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()
        assert leading.wait(PATIENCE), f"nobody leads by {name}"
    lease = client.CoordinationV1Api().read_namespaced_lease("election-lease", ns)
    assert lease.spec.holder_identity


def main():
    kubeconfig, ns = sys.argv[1:]
    config.load_kube_config(config_file=kubeconfig)
    version = client.VersionApi().get_code()
    assert version.major == "1", version
    core = client.CoreV1Api()
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=ns)))
    for step in (typed, pages, watches, dynamically, informer, elections):
        step(ns)
        print("ok", step.__name__, flush=True)
    core.delete_namespace(ns)


main()
