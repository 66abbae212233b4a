"""Which control plane a command talks to, and how it gets there: options, environment, configuration; pools' namespace too."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import msgspec
import typer

from snakepit.cli import config, failures, signals
from snakepit.cli.config import Config, Kube
from snakepit.cli.output import Output
from snakepit.client import Client, Pool
from snakepit.client.client import DEFAULT_SERVER
from snakepit.errors import InvalidArguments, ServerUnavailable, SnakepitError

if TYPE_CHECKING:
    from snakepit.cli.forward import Forward
    from snakepit.cli.forwards import Forwards
    from snakepit.cli.reach import Reach

R = TypeVar("R")
S = TypeVar("S", bound=msgspec.Struct)
P = ParamSpec("P")

DEFAULT_NAMESPACE = "default"
LINK_SECONDS = 3.0
"""Through forwards to several replicas, each of them has so long to be linked; it is looked for so often:"""
LOOK_SECONDS = 0.02
PANEL = "Where the pools are"
PoolArgument = Annotated[
    str,
    typer.Argument(metavar="POOL", help="namespace/name, as `snakepit pools` has it; a bare name: in the namespace of -n, or `default`."),
]


def _option(*names: str, metavar: str | None = None, help: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=PANEL)


_ACCOUNT = "Whose token --kube has made for calls: NAME in the namespace of -n, or NAMESPACE/NAME; else `default`."
_SERVER = "host:port of the control plane, or a name of the configuration file; else $SNAKEPIT_SERVER."
_NAMESPACE = "Of pools whose name has none; with several releases in the cluster, also the release's."


class TargetOptions(msgspec.Struct, frozen=True):
    """The options of a command line, before or after the command's name."""

    server: Annotated[str | None, _option("--server", metavar="SERVER", help=_SERVER)] = None
    kube: Annotated[bool, _option("--kube", help="Reach the release in a cluster, through kubectl's port-forward.")] = False
    context: Annotated[str | None, _option("--context", metavar="CONTEXT", help="kubectl's context, with --kube.")] = None
    namespace: Annotated[str | None, _option("-n", "--namespace", metavar="NAMESPACE", help=_NAMESPACE)] = None
    release: Annotated[str | None, _option("--release", metavar="RELEASE", help="Helm's name of the release, with --kube.")] = None
    service_account: Annotated[str | None, _option("--service-account", metavar="NAME", help=_ACCOUNT)] = None

    def over(self, before: TargetOptions) -> TargetOptions:
        """Take these options, and those given before the command where these say nothing."""
        return TargetOptions(*(getattr(self, name) or getattr(before, name) for name in self.__struct_fields__))


class Target(msgspec.Struct, frozen=True):
    """Where a command's pools are: at an address, or in a release. Nothing is connected before `run`.

    `namespace`: of bare pool names.
    """

    address: str = DEFAULT_SERVER
    token_file: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    kube: Kube | None = None
    ca_file: str | None = None

    def pool(self, name: str) -> str:
        """Return the whole name of a pool."""
        return name if "/" in name else f"{self.namespace}/{name}"

    def run(self, work: Callable[[Client], Awaitable[R]], reach: Reach | None = None) -> R:
        """Run `work` with an open client, and close what was opened for it. `reach`: as of `client`."""

        async def run() -> R:
            async with self.client(reach) as made, made as client:
                if reach is not None and reach.ready > 1:
                    await _linked(client, reach)
                return await work(client)

        return signals.run(run())

    def of_pool(self, name: str, work: Callable[[Pool], Awaitable[R]]) -> R:
        """As `run`, with a pool of the client's."""
        return self.run(lambda client: work(client.pool(self.pool(name))))

    @contextlib.asynccontextmanager
    async def client(self, reach: Reach | None = None) -> AsyncIterator[Client]:
        """Give a client, not open yet, which may go through kubectl's forward, until the block is left.

        `reach`: it asks every replica; so with `kube` there is a forward to each, and `reach` says whether there is.
        """
        if self.kube is None:
            try:
                yield Client(self.address, token_file=self.token_file, ca_file=self.ca_file)
            except ServerUnavailable as error:
                if self.address == DEFAULT_SERVER:  # nobody has said where it is
                    error.add_note("--kube reaches a release in a cluster")
                raise
            return
        async with self._forwarded(self.kube, reach) as forward:
            try:
                token_file, name = self.token_file or forward.token_file, forward.server_name
                yield Client(forward.address, token_file=token_file, lanes=False, ca_file=forward.ca_file, tls_server_name=name)
            except SnakepitError as error:
                if not forward.is_open:
                    error.add_note(await forward.ended())
                raise

    def _forwarded(self, kube: Kube, reach: Reach | None) -> contextlib.AbstractAsyncContextManager[Forward | Forwards]:
        if reach is None:
            from snakepit.cli.forward import forwarded

            return forwarded(kube, with_token=not self.token_file)
        from snakepit.cli.forwards import forwarded_to_each

        return forwarded_to_each(kube, reach, with_token=not self.token_file)


async def _linked(client: Client, reach: Reach) -> None:
    """Wait for a link to each replica that has a forward: who has none yet would not be asked, and nobody would miss its answer."""
    try:
        async with asyncio.timeout(LINK_SECONDS):
            while client.links < reach.reached:  # noqa: ASYNC110  # a client tells nobody of its links
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        reach.reached = client.links
        reach.problem = f"the others' links did not open within {LINK_SECONDS:g} s"


def resolve(asked: TargetOptions, environment: Mapping[str, str], settings: Config) -> Target:
    """Decide where the pools are: options win over the environment, and that over the configuration. Raises InvalidArguments."""
    if asked.kube and asked.server:
        raise InvalidArguments("--kube finds the server itself: give --server or --kube, not both")
    token_file = environment.get("SNAKEPIT_TOKEN_FILE")
    namespace = asked.namespace or settings.namespace or DEFAULT_NAMESPACE
    if asked.kube:
        account = _account(asked.service_account, namespace)
        return Target("", token_file, namespace, Kube(asked.context, asked.namespace, asked.release, account))
    server = config.named(settings, asked.server or environment.get("SNAKEPIT_SERVER") or settings.server or DEFAULT_SERVER)
    token_file = token_file or (str(Path(server.token_file).expanduser()) if server.token_file else None)
    ca_file = None if environment.get("SNAKEPIT_CA_FILE") or not server.ca_file else str(Path(server.ca_file).expanduser())
    kube, namespace = server.kube, asked.namespace or server.namespace or namespace
    if kube is None and (asked.context or asked.release or asked.service_account):
        raise InvalidArguments("--context, --release and --service-account say how --kube reaches a release: give --kube too")
    if kube is not None:
        account = _account(asked.service_account or kube.service_account, namespace)
        kube = Kube(asked.context or kube.context, kube.namespace, asked.release or kube.release, account)
    return Target(server.address or "", token_file, namespace, kube, ca_file)


def _account(name: str | None, namespace: str) -> str:
    """The whole name of a service account: one without a namespace is in that of the pools."""
    return name if name and "/" in name else f"{namespace}/{name or 'default'}"


def with_target(command: Callable[Concatenate[Target, P], None]) -> Callable[..., None]:
    """A command for typer: takes the options of `TargetOptions` beside its own, and tells of failures in the output that was asked for.

    A parameter that is a Struct stands for its fields, each of which is an option.
    """
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    structs = {each.name: each.annotation for each in own if _is_struct(each)}
    perform: Callable[..., None] = command

    def run(ctx: typer.Context, **given: Any) -> None:
        asked = _taken(TargetOptions, given)
        options = {name: _taken(kind, given) for name, kind in structs.items()}
        try:
            perform(_target(ctx, asked), **given, **options)
        except (SnakepitError, ValueError) as error:
            raise typer.Exit(failures.tell(error, given.get("output", Output.table))) from error

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return signed(run, [one for each in own for one in (_fields(each.annotation) if _is_struct(each) else (each,))])


def _is_struct(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, type) and issubclass(parameter.annotation, msgspec.Struct)


def _fields(kind: type[msgspec.Struct]) -> Iterable[inspect.Parameter]:
    return inspect.signature(kind, eval_str=True).parameters.values()


def _taken(kind: type[S], given: dict[str, Any]) -> S:
    """Of all that was given, what is the Struct's."""
    return kind(**{name: given.pop(name) for name in kind.__struct_fields__})


def signed(run: Callable[..., None], own: list[inspect.Parameter]) -> Callable[..., None]:
    """Give `run` a signature that typer can read: the context, `own` parameters, the options of `TargetOptions`."""
    context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [context, *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *_fields(TargetOptions)))]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _target(ctx: typer.Context, asked: TargetOptions) -> Target:
    before = ctx.find_root().obj
    return resolve(asked.over(before) if isinstance(before, TargetOptions) else asked, os.environ, config.load(config.path(os.environ)))
