"""Owns the images: the Debian base, the pause image, and the project's own, each built again only when its input changed."""

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcluster import cache, host_settings, image_rules, node_config, progress, shell
from localcluster.paths import Paths
from localcluster.shell import Failure

SUITE = "bookworm"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
BASE_NAME = "localhost/snakepit-base"
BASE_RUBBISH = ("var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man", "usr/share/locale")
REDIS_NAME = "docker.io/valkey/valkey:8-alpine"
"""What the chart's `redis.image` defaults to: ours stands in for it under that name, so that the chart installs without values."""

ENVIRONMENT = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}

STORAGE = Path("/var/lib/containers/storage")
"""buildah's."""

BUILDS_AT_ONCE = 2
"""Half of a build waits for disk and network."""


@dataclass(frozen=True)
class Image:
    """One of the project's own: where its Dockerfile is, and which files of the checkout it is made of."""

    name: str
    dockerfile: str
    inputs: tuple[str, ...]
    target: str | None = None
    parent: str | None = None
    """Another of these images, given to the build as `WORKER_IMAGE`, or in the place of what the Dockerfile begins with."""
    context: str = ""
    """The folder that it is built in, as its own page says; else the checkout."""
    most_megabytes: int | None = None
    """Over its base: it is on every node that has a capsule."""


def example(name: str, folder: str) -> Image:
    """One whose page says `docker build -t NAME:1 examples/FOLDER`."""
    path = f"examples/{folder}"
    return Image(name, f"{path}/Dockerfile", (path,), parent="worker", context=path)


COMMON = ("requirements/build.txt", "hack/images", "sdk")
IMAGES = (
    Image("agent", "Dockerfile", ("requirements/agent.txt", *COMMON, "agent"), target="agent", most_megabytes=90),
    Image("control-plane", "Dockerfile", ("requirements/control-plane.txt", *COMMON, "control-plane"), target="control-plane"),
    Image("operator", "Dockerfile", ("requirements/operator.txt", *COMMON, "operator"), target="operator"),
    Image("gateway", "Dockerfile", ("requirements/gateway.txt", *COMMON, "gateway"), target="gateway"),
    Image("cli", "Dockerfile", ("requirements/cli.txt", *COMMON), target="cli"),
    Image("worker", "worker-image/Dockerfile", ("requirements/worker.txt", *COMMON, "worker-image"), target="worker"),
    Image("digits", "examples/digits/Dockerfile", ("requirements/digits.txt", "examples/digits"), parent="worker"),
    example("embeddings", "embeddings"),
    example("fan-out", "fan-out"),
    example("frames", "frames"),
    example("interpreter", "interpreter"),
    example("shop", "shop"),
    example("warehouse", "agent-over-mcp"),
    Image("redis", "hack/cluster/redis/Dockerfile", ("hack/cluster/redis",), target="redis"),
)
BY_NAME = {image.name: image for image in IMAGES}
RELEASED = ("agent", "control-plane", "operator", "gateway", "cli", "worker")
"""Those that a release has. What each brings along is pinned in requirements/NAME.txt."""


@dataclass(frozen=True)
class Naming:
    """How the project's images are called; names without a registry mean what they mean to Kubernetes."""

    repository: str = "snakepit"
    tag: str = "dev"

    def of(self, image: str) -> str:
        if image == "redis":
            return REDIS_NAME
        return qualified(f"{self.repository}/{image}:{self.tag}")


def qualified(name: str) -> str:
    """The full name that Kubernetes makes of a short one."""
    first, _, rest = name.partition("/")
    has_registry = bool(rest) and ("." in first or ":" in first or first == "localhost")
    full = name if has_registry else f"docker.io/{name}" if rest else f"docker.io/library/{name}"
    return full if ":" in full.rsplit("/", 1)[-1] or "@" in full else f"{full}:latest"


def environment() -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT}


def inspect(name: str) -> dict[str, Any]:
    """What buildah knows about an image, or nothing if it does not have it."""
    try:
        answer = shell.output("buildah", "inspect", "--type", "image", name, environment=environment())
    except Failure:
        return {}
    return dict(json.loads(answer))


def identifier(name: str) -> str:
    """The image's own hash, without the algorithm's name."""
    return str(inspect(name).get("FromImageID", ""))


# -- the base ----------------------------------------------------------------------------------------------------------


def base_key() -> str:
    return cache.key_of([SUITE, platform.machine(), *BASE_PACKAGES, *BASE_RUBBISH])


def build_base(paths: Paths) -> str:
    """Debian with its own Python, made by debootstrap: it stands in for the public Python image."""
    name = f"{BASE_NAME}:{base_key()}"
    with cache.locked(paths.cache / "locks/base"):
        if not inspect(name):
            with progress.step("Debian base image (about a minute)"):
                _build_base(paths, name)
    return name


def _build_base(paths: Paths, name: str) -> None:
    folder, log = paths.cache / ".unfinished-base", paths.cache / "log/base.log"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "root").mkdir(parents=True)
    include = f"--include={','.join(BASE_PACKAGES)}"
    mirror = host_settings.debian_mirror(SUITE)
    shell.logged(["nice", "debootstrap", "--variant=minbase", include, SUITE, folder / "root", *mirror], log)
    for rubbish in BASE_RUBBISH:
        shutil.rmtree(folder / "root" / rubbish)
        (folder / "root" / rubbish).mkdir()
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY root /\nENV LANG=C.UTF-8\nCMD ["python3"]\n')
    shell.logged(["buildah", "build", "--tag", name, folder], log, environment=environment())
    shutil.rmtree(folder)


# -- the pause image ---------------------------------------------------------------------------------------------------


def build_pause(cache_folder: Path, programs: Path) -> Path:
    """An archive of the image that every pod begins with."""

    def make(folder: Path) -> None:
        shutil.copy(programs / "pause", folder / "pause")
        (folder / "Dockerfile").write_text('FROM scratch\nCOPY pause /pause\nUSER 65535\nENTRYPOINT ["/pause"]\n')
        log = cache_folder / "log/pause.log"
        shell.logged(["buildah", "build", "--tag", node_config.PAUSE_IMAGE, folder], log, environment=environment())
        archive = f"docker-archive:{folder / 'pause.tar'}:{node_config.PAUSE_IMAGE}"
        shell.logged(["buildah", "push", node_config.PAUSE_IMAGE, archive], log, environment=environment())

    return cache.entry(cache_folder, "pause", cache.key_of_files(programs, ["pause"]), make) / "pause.tar"


# -- the project's own -------------------------------------------------------------------------------------------------


def with_parents(names: list[str]) -> list[Image]:
    """The images of these names, each after the one that it is made from."""
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        raise Failure(f"There is no image called {', '.join(unknown)}; there are: {', '.join(BY_NAME)}")
    wanted = set(names or BY_NAME)
    parents = {parent for name in wanted if (parent := BY_NAME[name].parent)}
    return [image for image in IMAGES if image.name in wanted | parents]


def build(paths: Paths, names: list[str], naming: Naming, there: frozenset[str] = frozenset()) -> list[str]:
    """Build what is out of date, and return the names of all that were asked for. `there`: what has its name, and is not to be built."""
    wanted = with_parents(names)
    base = build_base(paths)
    with alone(paths):
        _remove_remains()
        _build_all(paths, wanted, naming, base, there)
    for image in wanted:
        if image.name not in there:
            check(image, naming.of(image.name), base)
    return [naming.of(image.name) for image in wanted]


def alone(paths: Paths) -> AbstractContextManager[None]:
    """Nobody else builds images meanwhile."""
    return cache.locked(paths.cache / "locks/images", lambda: progress.say("waiting for another build of images"))


def _build_all(paths: Paths, wanted: Sequence[Image], naming: Naming, base: str, there: frozenset[str]) -> None:
    """Several at once, each after the one that it is made from. The first is alone: others find the layers that they share with it.

    What was of a name before goes when all are built: a build fails over an image that it looks at and that is just being removed.
    """
    keys: dict[str, str] = {}
    built: dict[str, Future[str]] = {}

    def build_one(image: Image, key: str) -> str:
        if image.parent:
            built[image.parent].result()
        return "" if image.name in there else _build_if_changed(paths, image, naming, base, key)

    with ThreadPoolExecutor(BUILDS_AT_ONCE) as threads:
        try:
            for image in wanted:
                made_of = [identifier(naming.of(image.name))] if image.name in there else [_inputs_key(paths, image)]
                keys[image.name] = cache.key_of([base, keys.get(image.parent or "", ""), *made_of])
                built[image.name] = threads.submit(build_one, image, keys[image.name])
                built[wanted[0].name].result()
            before = [each.result() for each in built.values()]
        finally:
            threads.shutdown(cancel_futures=True)  # After a failure no other is begun.
    for identifier_before in before:
        forget(identifier_before)


def check(image: Image, name: str, base: str, told: Callable[[str], dict[str, Any]] = inspect) -> None:
    """Raises Failure where an image isn't what a cluster relies on. `told`: what buildah knows about an image."""
    size = image_rules.check(image.name, image.most_megabytes, told(name), told(base))
    if image.most_megabytes is not None:
        progress.say(f"{name}: {size:.0f} MB over its base")


def _remove_remains() -> None:
    """Containers of builds that were killed: with the lock held, nobody works on one that began with our base."""
    for container in shell.output("buildah", "containers", "--quiet", environment=environment()).split():
        if BASE_NAME in shell.output("buildah", "inspect", container, environment=environment()):
            shell.output("buildah", "rm", container, environment=environment())


def _inputs_key(paths: Paths, image: Image) -> str:
    missing = [name for name in (image.dockerfile, *image.inputs) if not (paths.checkout / name).exists()]
    if missing:
        raise Failure(f"The image {image.name} needs {', '.join(missing)}, which this checkout does not have.")
    return cache.key_of_files(paths.checkout, [image.dockerfile, *image.inputs])


def _build_if_changed(paths: Paths, image: Image, naming: Naming, base: str, key: str) -> str:
    """Returns the image that has lost its name to this one, if any has."""
    name = naming.of(image.name)
    record, before = paths.cache / "built" / cache.key_of([name]), identifier(name)
    if before and record.exists() and record.read_text() == f"{key} {before}":
        progress.say(f"{name}: unchanged")
        return ""
    with progress.step(name), host_settings.for_pip() as volumes:
        command = build_command(paths.checkout, image, name, [*_begins_with(image, naming, base)], volumes)
        shell.logged(command, paths.cache / f"log/image-{image.name}.log", environment=environment())
    _remember(record, f"{key} {identifier(name)}")
    return before if before != identifier(name) else ""


def _begins_with(image: Image, naming: Naming, base: str) -> Iterator[str]:
    """Options that say which images the build is made from."""
    if image.context and image.parent:
        yield f"--from={naming.of(image.parent)}"
        return
    yield f"--build-arg=PYTHON_IMAGE={base}"
    if image.parent:
        yield f"--build-arg=WORKER_IMAGE={naming.of(image.parent)}"


def build_command(
    checkout: Path, image: Image, name: str, begins_with: list[str], volumes: list[str], more: Sequence[str] = ("--format=docker",)
) -> list[str]:
    command = ["nice", "-n", "5", "buildah", "build", "--layers", "--force-rm", "--network=host", "--pull=never", *more]
    command += ["--file", str(checkout / image.dockerfile), "--tag", name]
    command += ["--target", image.target] if image.target else []
    command += begins_with
    command += [f"--volume={volume}" for volume in volumes]
    return [*command, str(checkout / image.context)]


def _remember(record: Path, text: str) -> None:
    """A record counts only together with the image that it names, so it may be older than that, but never half."""
    record.parent.mkdir(parents=True, exist_ok=True)
    unfinished = record.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.rename(record)


def forget(image: str) -> None:
    """Remove an image by its identifier, or one of its names: what lost its name to a newer one would stay. One in use does."""
    if image:
        variables = (f"{name}={value}" for name, value in ENVIRONMENT.items())
        shell.succeeds("env", *variables, "buildah", "rmi", image)
