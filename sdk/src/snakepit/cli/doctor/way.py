"""What is wrong on the way to the control plane: names, ports, TLS and tokens. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from snakepit._wire.protocol import AUDIENCE_DETAIL, NOW_DETAIL, TLS_DETAIL, TOKEN_DETAIL
from snakepit.cli.doctor.codes import Code
from snakepit.cli.doctor.facts import CLOSED, GRPC, HTTP, OTHER, QUIET, REFUSED, SILENT, Address, Token, Way
from snakepit.client.findings import Finding
from snakepit.errors import SnakepitError, Unauthenticated

CLOCK_SECONDS = 10.0
"""By so much two clocks may differ: it is what a control plane grants tokens."""

_PORTS = "calls have port 7800, metrics 7801, probes 7803, the gateway 7880"

_TLS = {
    "wanted": Code.TLS_MISSING,
    "none": Code.TLS_NOT_SPOKEN,
    "authority": Code.CERTIFICATE_UNKNOWN,
    "name": Code.CERTIFICATE_OF_ANOTHER,
    "early": Code.CERTIFICATE_NOT_YET_VALID,
    "expired": Code.CERTIFICATE_EXPIRED,
    "certificate": Code.CLIENT_CERTIFICATE_MISSING,
    "file": Code.TLS_FILE_UNUSABLE,
}
"""By what TLS_DETAIL says."""

_STRANGERS: Mapping[str, str] = {
    HTTP: "an HTTP server answers there, which is no control plane's port for calls: metrics, a gateway or something else",
    GRPC: "a gRPC server answers there that knows no calls: the port of probes, or another program",
    CLOSED: "whoever listens there hangs up: the port of lanes, or another program",
    OTHER: "whoever listens there speaks neither gRPC nor HTTP",
}


def of_way(way: Way) -> list[Finding]:
    """Before anything is asked: names without an address, addresses where nobody listens."""
    found = [_unknown(host) for host in way.unknown]
    closed = [each for each in way.addresses if not each.is_open]
    return [*found, *(_away(each, way) if way.is_open else _closed(each, way) for each in closed)]


def _unknown(host: str) -> Finding:
    advice = "mend the name in --server or SNAKEPIT_SERVER"
    if host.endswith((".svc", ".cluster.local")) or host.count(".") == 1:
        advice += "; a Service's name is known inside of its cluster alone: from elsewhere use --kube"
    return Finding(host, Code.NAME_UNKNOWN, f"no address is known for the name {host}: {advice}")


def _closed(address: Address, way: Way) -> Finding:
    if address.problem == REFUSED:
        advice = "is `snakepit dev` running, or is the port another one?"
        if way.in_a_pod:
            advice = "look at the control plane's pods, and whether this pod's namespace is labelled snakepit.dev/caller=true"
        return Finding(way.target, Code.NOTHING_LISTENS, f"nothing listens at {address.address}: {advice} ({_PORTS})")
    if address.problem == SILENT:
        between = "a firewall, a NetworkPolicy or a wrong address is between"
        label = "label this pod's namespace snakepit.dev/caller=true, or " if way.in_a_pod else ""
        return Finding(
            way.target, Code.NO_ANSWER, f"{address.address} doesn't answer, and refuses nothing: {between}: {label}ask whoever runs it"
        )
    return Finding(way.target, Code.NO_WAY, f"{address.address} can't be reached: {address.problem}: is it the right address, from here?")


def _away(address: Address, way: Way) -> Finding:
    how = {REFUSED: "nothing listens there", SILENT: "it doesn't answer"}.get(address.problem, address.problem)
    said = f"the replica at {address.address}, one of {len(way.addresses)} addresses of {way.target}, is away: {how}"
    return Finding(way.target, Code.REPLICA_AWAY, f"{said}: calls go to the others; look at its pod and node")


def _strangers(addresses: Iterable[Address], target: str) -> Iterator[Finding]:
    """Of addresses where no control plane answered: who does."""
    for each in addresses:
        if each.speaks == QUIET:
            asked = "is it a control plane at all, or one that is stopped or overloaded?"
            yield Finding(target, Code.NOT_ANSWERING, f"{each.address} takes connections and says nothing: {asked}")
        elif (who := _STRANGERS.get(each.speaks)) is not None:
            yield Finding(target, Code.WRONG_PORT, f"{each.address}: {who}; give the port for calls ({_PORTS})")


def of_refusal(error: SnakepitError, way: Way, token: Token, now: float) -> list[Finding]:
    """Why no request was answered. `now`: by the clock here, in Unix seconds."""
    if (kind := error.details.get(TLS_DETAIL)) is not None:
        return [Finding(way.target, _TLS.get(kind, Code.TLS_FILE_UNUSABLE), error.message)]
    if token.problem and token.file in error.message:
        said = f"the token file {token.file} can't be read: {token.problem}: mend SNAKEPIT_TOKEN_FILE"
        return [Finding(token.file, Code.TOKEN_UNREADABLE, said)]
    if isinstance(error, Unauthenticated):
        return [_unauthenticated(error, way, token, now)]
    strangers = list(_strangers(way.addresses, way.target))
    return strangers or [Finding(way.target, error.reason, error.message)]


def _unauthenticated(error: Unauthenticated, way: Way, token: Token, now: float) -> Finding:
    kind, about = error.details.get(TOKEN_DETAIL), token.file or way.target
    if kind == "missing":
        return Finding(way.target, Code.TOKEN_MISSING, f"the control plane asks for a token, and none was sent: {_make()}")
    if kind in ("expired", "early"):
        return _untimely(kind, float(error.details.get(NOW_DETAIL, now)), about, token, now)
    if kind == "audience":
        wanted = error.details.get(AUDIENCE_DETAIL, "")
        return Finding(about, Code.TOKEN_FOR_ANOTHER, f"{error.message}: {_make(wanted)}")
    return Finding(about, Code.TOKEN_REFUSED, f"{error.message}: {_make()}")


def _untimely(kind: str, theirs: float, about: str, token: Token, now: float) -> Finding:
    """A token that is good by one clock and not by the other."""
    if abs(theirs - now) > CLOCK_SECONDS:
        word = "past" if kind == "expired" else "before"
        said = f"for the control plane the token is {word} its time, by a clock that is {_apart(theirs - now)} of this machine's"
        return Finding(about, Code.CLOCK_SKEW, f"{said}: set the clock of the one that is wrong (NTP)")
    if kind == "early":
        return Finding(about, Code.TOKEN_NOT_YET_VALID, f"the token is good only later: {_make()}")
    end = token.time("exp")
    ago = f" {_span(now - end)} ago" if end is not None and now > end else ""
    return Finding(about, Code.TOKEN_EXPIRED, f"the token has expired{ago}: {_make()}")


def _make(audience: str = "") -> str:
    make = f"`kubectl create token ACCOUNT -n NAMESPACE --audience {audience or 'AUDIENCE'}`"
    return f"make one by {make} and name its file in SNAKEPIT_TOKEN_FILE, or let --kube make it (docs/security.md)"


def _apart(seconds: float) -> str:
    return f"{_span(abs(seconds))} {'ahead' if seconds > 0 else 'behind'}"


def _span(seconds: float) -> str:
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(about: str, seconds: float) -> Finding:
    """Of a replica's clock that is so many seconds ahead of the one here."""
    then = "tokens are refused too early or too late, and times don't agree: set the clock of the one that is wrong (NTP)"
    return Finding(about, Code.CLOCK_SKEW, f"its clock is {_apart(seconds)} of this machine's: {then}")
