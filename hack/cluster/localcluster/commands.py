"""Owns what each command does with the cluster of this machine. There is at most one; its state folder says whose it is."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from localcluster import api, binaries, cache, cgroups, host, images, network, node, pki, processes, progress, room, sandbox, shell
from localcluster.paths import Paths, State
from localcluster.shell import Failure

START_SECONDS = 180.0
LAUNCH_SECONDS = 3.0
NODE_SECONDS = 60.0
LEFT_BY_MOUNTS = ("/var/lib/cni", "/var/lib/kubelet")
"""Empty folders on the host that only serve as places to mount on."""


# -- who and what is running -------------------------------------------------------------------------------------------


def running(state: State) -> processes.Process | None:
    return processes.find_init(sandbox.ROLE, str(state.root))


def inside(state: State) -> bool:
    """Is this very command being run inside the cluster's namespaces?"""
    return processes.ends_with(processes.command_line(1), (sandbox.ROLE, str(state.root)))


def require_running(state: State) -> processes.Process:
    process = running(state)
    if process is None:
        raise Failure("No cluster is running. Start it with `python3 hack/cluster up`.")
    return process


def _owner(state: State) -> Path | None:
    return Path(state.owner.read_text().strip()) if state.owner.exists() else None


def _refuse_foreign(paths: Paths) -> None:
    owner = _owner(paths.state)
    if running(paths.state) and owner not in (None, paths.checkout):
        raise Failure(
            f"The cluster that is running belongs to the checkout {owner}; "
            "end it with `python3 hack/cluster down --any` before this one uses the machine."
        )


def _refuse_another_size(state: State, nodes: int) -> None:
    if running(state) and len(state.nodes) != nodes:
        raise Failure(
            f"The cluster that is running has {len(state.nodes)} nodes, not {nodes}; end it with `python3 hack/cluster down` first."
        )


@contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    def waiting() -> None:
        progress.say("another `up` or `down` is at work; waiting for it")

    with cache.locked(paths.lock, waiting):
        yield


# -- up and down -------------------------------------------------------------------------------------------------------


def up(paths: Paths, nodes: int = network.NODES) -> None:
    host.prepare(paths)
    with _alone(paths):
        _refuse_foreign(paths)
        _refuse_another_size(paths.state, nodes)
        if running(paths.state) and paths.state.ready.exists():
            progress.say(f"the cluster is running already; KUBECONFIG is {paths.state.kubeconfig()}")
            return
        if not running(paths.state):
            _remove_everything(paths.state)
            _say_what_is_short(paths)
            _prepare_state(paths, nodes)
            sandbox.launch(paths.state)
        with progress.step(f"starting {nodes} nodes"):
            _wait_until_ready(paths.state)
    progress.say(f"ready; KUBECONFIG is {paths.state.kubeconfig()}")


def _say_what_is_short(paths: Paths) -> None:
    room.refuse_the_impossible(paths.state.root)
    for said in room.shortages(room.of_a_cluster(paths.state.root, paths.cache, images.STORAGE)):
        progress.say(f"the cluster may not have enough room: {said}")


def _prepare_state(paths: Paths, nodes: int) -> None:
    with ThreadPoolExecutor() as threads:
        base = threads.submit(images.build_base, paths)
        programs = binaries.build(paths.cache)
        pause = images.build_pause(paths.cache, programs)
        base.result()
    state = paths.state
    state.root.mkdir(parents=True)
    state.owner.write_text(f"{paths.checkout}\n")
    state.has_nodes(nodes)
    state.resolv_conf.write_text(f"nameserver {network.SERVER}\noptions timeout:2\n")
    pki.create(state, nodes)
    binaries.link_into(state, programs)
    state.preload.mkdir()
    shutil.copy(pause, state.preload)


def _wait_until_ready(state: State) -> None:
    begun = time.monotonic()
    while not state.ready.exists():
        waited = time.monotonic() - begun
        if waited > START_SECONDS or (waited > LAUNCH_SECONDS and not running(state)):
            raise Failure(f"The cluster did not start.\n{shell.tail(state.log / 'sandbox.log')}\nAll logs: {state.log}")
        time.sleep(0.1)


def down(paths: Paths, *, foreign_too: bool = False) -> None:
    with _alone(paths):
        if not foreign_too:
            _refuse_foreign(paths)
        if _remove_everything(paths.state):
            progress.say("the cluster is down; nothing of it is left")
        else:
            progress.say("no cluster is running")


def _remove_everything(state: State) -> bool:
    """End and remove whatever there is of a cluster, in whatever condition it is."""
    ended = _end_processes(state)
    left = cgroups.remove()
    if left:
        raise Failure(f"These cgroup folders can't be removed, something still runs in them: {' '.join(map(str, left))}")
    found = ended or state.root.exists()
    _unmount_below(state.root)
    shutil.rmtree(state.root, ignore_errors=True)
    if state.root.exists():
        shutil.rmtree(state.root)
    for folder in LEFT_BY_MOUNTS:
        _remove_if_empty(Path(folder))
    return found


def _end_processes(state: State) -> bool:
    nodes = [process for index in range(1, network.MOST_NODES + 1) for process in processes.find(node.ROLE, str(state.root), str(index))]
    found = processes.find(sandbox.ROLE, str(state.root))
    # PID 1 before its parent: the parent then ends by itself, after everything in the namespace.
    for process in sorted(found, key=lambda process: not process.is_init) + nodes:
        processes.kill(process)
    return bool(found)


def _unmount_below(root: Path) -> None:
    """There are none outside the cluster's namespaces; but removing files through a mount would be a disaster."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((p for p in mounted if Path(p).is_relative_to(root)), reverse=True):
        shell.output("umount", "--lazy", point)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


# -- inside ------------------------------------------------------------------------------------------------------------


def execute(paths: Paths, command: list[str]) -> int:
    """Run a command inside the cluster's namespaces: same directory, same standard streams, its own exit code."""
    argv = entered(paths.state, command)
    return _exit_code(subprocess.run(argv, env=_environment_inside(paths.state), check=False).returncode)


def entered(state: State, command: list[str]) -> list[str]:
    """`nsenter` starts in the root directory, and on a signal it ends before its child: hence the two programs between."""
    if inside(state):
        return command
    process = require_running(state)
    enter = ["nsenter", "--target", str(process.pid), "--net", "--mount", "--pid", "--", "setpriv", "--pdeathsig", "TERM", "--"]
    return [*enter, "sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(Path.cwd()), *command]


def _environment_inside(state: State) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{state.bin}:{os.environ.get('PATH', os.defpath)}",
        "KUBECONFIG": str(state.kubeconfig()),
        "KUBECACHEDIR": str(state.root / "kubectl-cache"),
        "HELM_CACHE_HOME": str(state.root / "helm/cache"),
        "HELM_CONFIG_HOME": str(state.root / "helm/config"),
        "HELM_DATA_HOME": str(state.root / "helm/data"),
    }


def _exit_code(code: int) -> int:
    """As a shell has it: 128 and the signal's number."""
    return code if code >= 0 else 128 - code


# -- nodes -------------------------------------------------------------------------------------------------------------


def kill_node(paths: Paths, index: int) -> None:
    require_running(paths.state)
    process = _node(paths.state, index)
    if process is None:
        raise Failure(f"{network.node_name(index)} is not running.")
    processes.kill(process)
    progress.say(f"{network.node_name(index)} is dead; Kubernetes notices within about 8 s")


def start_node(paths: Paths, index: int) -> None:
    """Bring a killed node back, with the disk that it had."""
    require_running(paths.state)
    if _node(paths.state, index):
        raise Failure(f"{network.node_name(index)} is running already.")
    since = time.time()
    with progress.step(f"starting {network.node_name(index)}"):
        if inside(paths.state):
            node.launch(paths.state, index)
        else:
            shell.output(*entered(paths.state, node.launcher(paths.state, index)))
        _wait_for_node(paths.state, index, since)


def cut_node(paths: Paths, index: int, *, off: bool) -> None:
    """`off`: no packet reaches the node or leaves it, though everything on it runs on; else they do again."""
    require_running(paths.state)
    if _node(paths.state, index) is None:
        raise Failure(f"{network.node_name(index)} is not running.")
    shell.output(*entered(paths.state, ["ip", "link", "set", network.veth_name(index), "down" if off else "up"]))
    progress.say(f"{network.node_name(index)} is {'cut off; nothing resets its connections' if off else 'reached again'}")


def _node(state: State, index: int) -> processes.Process | None:
    if index not in state.nodes:
        raise Failure(f"There is no node {index}; they are numbered from 1 to {len(state.nodes)}.")
    return processes.find_init(node.ROLE, str(state.root), str(index))


def _wait_for_node(state: State, index: int, since: float) -> None:
    name = network.node_name(index)
    deadline = time.monotonic() + NODE_SECONDS
    while not _is_back(state, name, since):
        if time.monotonic() > deadline:
            raise Failure(f"{name} did not become ready.\n{shell.tail(state.log / f'{name}.log')}\nAll logs: {state.node(index) / 'log'}")
        time.sleep(0.2)


def _is_back(state: State, name: str, since: float) -> bool:
    """The lease tells a kubelet that lives from a readiness that nobody has taken back yet."""
    get = ["kubectl", "get", "-o", "json", "--namespace", "kube-node-lease", f"node/{name}", f"lease/{name}"]
    done = subprocess.run(entered(state, get), env=_environment_inside(state), capture_output=True, text=True, check=False)
    return done.returncode == 0 and api.is_node_back(json.loads(done.stdout), since)


# -- status ------------------------------------------------------------------------------------------------------------


def status(paths: Paths) -> None:
    state = paths.state
    process = running(state)
    if process is None:
        print("No cluster is running." + (f" There are remains of one in {state.root}." if state.root.exists() else ""))
        return
    print(f"cluster      {'ready' if state.ready.exists() else 'starting'}, pid {process.pid}, of the checkout {_owner(state)}")
    print(f"versions     Kubernetes {binaries.KUBERNETES}, helm {binaries.HELM}, grpcurl {binaries.GRPCURL}")
    print(f"KUBECONFIG   {state.kubeconfig()} (the addresses in it exist inside only: `python3 hack/cluster exec -- kubectl ...`)")
    print(f"logs         {state.log}, and {state.root}/node-N/log; of pods: {state.root}/node-N/var-log/pods")
    for index in state.nodes:
        found = _node(state, index)
        print(f"{network.node_name(index)}       {f'pid {found.pid}' if found else 'not running'}")
    subprocess.run(entered(state, ["kubectl", "get", "nodes", "-o", "wide"]), env=_environment_inside(state), check=False)
