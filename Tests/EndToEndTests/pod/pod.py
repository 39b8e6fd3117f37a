"""Runs a pod whose users are not the machine's (hostUsers: false) through containerd's CRI, with one container, and prints what a
script in it says.

pod.py SOCKET IMAGE FIRST-ID LOGS SCRIPT
"""
import sys

import grpc
import cri_pb2 as messages
import cri_pb2_grpc as services

socket, image, first, logs, script = sys.argv[1:]
channel = grpc.insecure_channel("unix:" + socket, options=[("grpc.default_authority", "localhost")])
runtime = services.RuntimeServiceStub(channel)

ids = [messages.IDMapping(host_id=int(first), container_id=0, length=65536)]
# Network and processes of its own, users of its own.
namespaces = messages.NamespaceOption(
    network=0, pid=1, userns_options=messages.UserNamespace(mode=0, uids=ids, gids=ids))
sandbox = messages.SandboxConfig(
    metadata=messages.Metadata(name="pod", uid="pod", namespace="tests"), hostname="pod", log_directory=logs,
    linux=messages.LinuxSandbox(security_context=messages.SandboxSecurity(namespace_options=namespaces)))
container = messages.ContainerConfig(
    metadata=messages.ContainerMetadata(name="one"), image=messages.ImageSpec(image=image),
    command=["/bin/sh", "-c", "sleep 1000"],
    linux=messages.LinuxContainer(security_context=messages.ContainerSecurity(namespace_options=namespaces)))

pod = runtime.RunPodSandbox(messages.RunPodSandboxRequest(config=sandbox)).pod_sandbox_id
try:
    made = runtime.CreateContainer(
        messages.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=sandbox)).container_id
    runtime.StartContainer(messages.ContainerRequest(container_id=made))
    result = runtime.ExecSync(
        messages.ExecSyncRequest(container_id=made, cmd=["/bin/sh", "-c", script], timeout=20))
    sys.stdout.buffer.write(result.stdout)
    sys.stderr.buffer.write(result.stderr)
finally:
    runtime.StopPodSandbox(messages.PodRequest(pod_sandbox_id=pod))
    runtime.RemovePodSandbox(messages.PodRequest(pod_sandbox_id=pod))
sys.exit(result.exit_code)
