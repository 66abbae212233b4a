"""The public keys of whoever signs tokens: fetched, kept, and fetched again when they may have changed.

While they can't be fetched, those that are known go on. However many unknown keys are asked for, fetches keep their distance.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snakepit.errors import ServerUnavailable, Unauthenticated
from snakepit_control_plane.authentication.issuers import Issuer
from snakepit_control_plane.authentication.settings import Authentication, is_url
from snakepit_control_plane.authentication.tokens import Key, issuer_of, parse_keys

OLD_SECONDS = 300.0
"""Keys are good for so long without another look; a key that its issuer has dropped is not taken for longer."""

PAUSE_SECONDS = 5.0
"""Between the end of one fetch and the next."""

FETCH_SECONDS = 3.0
MOST_BYTES = 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Issued:
    """An issuer's keys by their ids."""

    issuer: str
    keys: dict[str, Key]


def fetch(wanted: Authentication) -> Issued:
    """Read the keys from the URL or file of the settings. It blocks. Raises OSError or ValueError."""
    token = Path(wanted.token_file).read_text().strip() if wanted.token_file else ""
    data = _get(wanted.keys, token, wanted.ca_file) if is_url(wanted.keys) else Path(wanted.keys).read_bytes()
    return Issued(wanted.issuer or issuer_of(token), parse_keys(data))


def discover(issuer: Issuer) -> Issued:
    """Read an issuer's keys where its discovery document says that they are. It blocks. Raises OSError or ValueError.

    https://openid.net/specs/openid-connect-discovery-1_0.html
    """
    url, authority = issuer.issuer.url, issuer.issuer.certificate_authority
    said = _get(issuer.issuer.discovery_url or f"{url.rstrip('/')}/.well-known/openid-configuration", authority=authority)
    try:
        document = json.loads(said)
    except RecursionError:
        raise ValueError(f"the discovery document of {url} is nested too deeply") from None
    if not isinstance(document, dict) or document.get("issuer") != url or not is_url(str(document.get("jwks_uri"))):
        raise ValueError(f"the discovery document of {url} names another issuer, or no jwks_uri")
    return Issued(url, parse_keys(_get(str(document["jwks_uri"]), authority=authority)))


class Keys:
    """The keys that are known now. `fetch` is called in a thread; it raises OSError or ValueError. `clock` is in seconds, and monotonic."""

    def __init__(self, fetch: Callable[[], Issued], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = fetch
        self._clock = clock
        self._issued: Issued | None = None
        self._fetched = 0.0
        self._tried: float | None = None
        self._problem = ""
        self._fetching: asyncio.Task[None] | None = None

    @property
    def are_away(self) -> bool:
        """Did the last fetch fail? Then the next one may, too, and as late."""
        return bool(self._problem)

    async def find(self, key_id: str) -> tuple[Key, str]:
        """The key, and its issuer. Raises Unauthenticated: nobody signs with it; ServerUnavailable: it can't be known now."""
        if self._issued is None or key_id not in self._issued.keys:
            await self._look_again()
        elif self._clock() - self._fetched > OLD_SECONDS:
            self._start()
        if self._issued is None:
            raise ServerUnavailable(f"tokens can't be checked now: {self._problem}")
        key = self._issued.keys.get(key_id)
        if key is None:
            why = f", and newer keys can't be fetched: {self._problem}" if self._problem else ""
            raise Unauthenticated(f"the token is signed with key {key_id[:64]!r}, which {self._issued.issuer} doesn't have{why}")
        return key, self._issued.issuer

    async def _look_again(self) -> None:
        """Fetch, unless that was done a moment ago; whoever comes meanwhile waits for the same fetch."""
        fetching = self._start()
        if fetching is not None:
            await asyncio.shield(fetching)

    def _start(self) -> asyncio.Task[None] | None:
        if self._fetching is None and (self._tried is None or self._clock() - self._tried >= PAUSE_SECONDS):
            self._fetching = asyncio.create_task(self._fetch(), name="fetch keys")
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                issued = await asyncio.to_thread(self._read)
        except TimeoutError:
            self._failed(f"the keys did not come within {FETCH_SECONDS:g} s")
        except (OSError, ValueError) as error:
            self._failed(f"the keys can't be fetched: {error}")
        else:
            self._issued, self._fetched, self._problem = issued, self._clock(), ""
        finally:
            self._tried, self._fetching = self._clock(), None

    def _failed(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem


class _Straight(urllib.request.HTTPRedirectHandler):
    """A redirect is an error: our token, and our trust, are for that address."""

    def redirect_request(self, *args: object) -> None:
        return None


def _get(url: str, token: str = "", ca_file: str = "", authority: str = "") -> bytes:
    request = urllib.request.Request(url)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file or None, cadata=authority or None))
    try:
        with urllib.request.build_opener(tls, _Straight()).open(request, timeout=FETCH_SECONDS) as answer:
            data: bytes = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise OSError(f"{url} answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        raise OSError(f"{url}: {error.reason}") from None
    except http.client.HTTPException as error:
        raise OSError(f"{url} answers no HTTP: {error!r}"[:200]) from None
    if len(data) > MOST_BYTES:
        raise ValueError(f"{url} answers with more than {MOST_BYTES} bytes")
    return data
