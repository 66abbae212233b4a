"""Owns the command line: what can be typed, and that every failure is a sentence and an exit code."""

import argparse
import os
import sys
from pathlib import Path

from localcluster import binaries, commands, image_commands, images, network, node, paths, sandbox
from localcluster.shell import Failure

NODE_COMMANDS = {
    "kill-node": "kill a node as if its power had failed",
    "start-node": "bring a killed node back",
    "cut-node": "cut a node off from the network as if its cable had been pulled",
    "join-node": "plug its cable in again",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="hack/cluster", description="A real Kubernetes on this machine, for the tests.")
    add = top.add_subparsers(dest="command", required=True, metavar="COMMAND").add_parser
    up = add("up", help="build what is missing, start the nodes, and wait until they are ready")
    up.add_argument("--nodes", type=int, choices=range(1, network.MOST_NODES + 1), default=network.NODES, metavar="N", help="default: 2")
    down = add("down", help="end the cluster and remove everything that it left, also after a crash")
    down.add_argument("--any", action="store_true", help="also when it belongs to another checkout")
    execute = add("exec", help="run a command inside: exec -- kubectl get pods")
    execute.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD")
    _add_images(add("build", help="build the project's images, those that changed"), "TARGET")
    _add_images(add("load", help="bring images from buildah's storage to every node"), "IMAGE")
    for name, does in NODE_COMMANDS.items():
        add(name, help=does).add_argument("index", type=int, metavar="N")
    add(
        "programs", help="build Kubernetes' programs if they are missing, and print their folder (needs neither root nor a running cluster)"
    )
    add("status", help="what runs, where its logs are")
    return top


def _add_images(command: argparse.ArgumentParser, what: str) -> None:
    defaults = images.Naming()
    command.add_argument("names", nargs="*", metavar=what, help="default: all of the project's own")
    command.add_argument("--repository", default=os.environ.get("IMAGE_REPOSITORY", defaults.repository))
    command.add_argument("--tag", default=os.environ.get("IMAGE_TAG", defaults.tag))
    command.add_argument("--release", type=Path, metavar="FOLDER", help="what `make release` has made is taken from there, and not built")


def command_to_execute(argv: list[str]) -> list[str]:
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        raise Failure("exec needs a command, for example: python3 hack/cluster exec -- kubectl get pods")
    return command


def main(argv: list[str]) -> int:
    try:
        if argv and argv[0] in INTERNAL:
            INTERNAL[argv[0]](argv[1:])
            return 0
        return run(parser().parse_args(argv))
    except Failure as failure:
        print(f"hack/cluster: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def run(arguments: argparse.Namespace) -> int:
    where = paths.from_environment()
    match arguments.command:
        case "up":
            commands.up(where, arguments.nodes)
        case "down":
            commands.down(where, foreign_too=arguments.any)
        case "exec":
            return commands.execute(where, command_to_execute(arguments.argv))
        case "build":
            image_commands.build(where, arguments.names, images.Naming(arguments.repository, arguments.tag), arguments.release)
        case "load":
            image_commands.load(where, arguments.names, images.Naming(arguments.repository, arguments.tag), arguments.release)
        case "programs":
            print(binaries.build(where.cache))
        case "status":
            commands.status(where)
        case command:
            change_node(where, command, arguments.index)
    return 0


def change_node(where: paths.Paths, command: str, index: int) -> None:
    match command:
        case "kill-node":
            commands.kill_node(where, index)
        case "start-node":
            commands.start_node(where, index)
        case "cut-node" | "join-node":
            commands.cut_node(where, index, off=command == "cut-node")


INTERNAL = {
    sandbox.ROLE: lambda argv: sandbox.main(paths.State(Path(argv[0]))),
    node.ROLE: lambda argv: node.main(paths.State(Path(argv[0])), int(argv[1])),
    node.LAUNCHER_ROLE: lambda argv: node.launch(paths.State(Path(argv[0])), int(argv[1])),
}
"""What the program starts itself as, inside; not for people."""
