"""TLS 1.3's new keys, as often as one likes: OpenSSL can, and Python's ssl has no name for it."""

from __future__ import annotations

import _ssl
import ctypes
import ssl

_OPENSSL = ctypes.CDLL(_ssl.__file__)
_OPENSSL.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
_OPENSSL.SSL_do_handshake.argtypes = _OPENSSL.SSL_version.argtypes = [ctypes.c_void_p]

_REQUESTED = 1
"""The other end is asked for new keys of its own, which is an answer."""

_SSL_AT = 3 * ctypes.sizeof(ctypes.c_void_p)
"""Where CPython's object has OpenSSL's: behind its head (two words) and a weak reference."""


def ask_for_new_keys(tls: ssl.SSLObject, times: int) -> None:
    """The records are in the object's outgoing BIO then."""
    inner = ctypes.c_void_p.from_address(id(tls._sslobj) + _SSL_AT).value  # type: ignore[attr-defined]  # noqa: SLF001
    assert _OPENSSL.SSL_version(inner) == ssl.TLSVersion.TLSv1_3
    for _ in range(times):
        assert _OPENSSL.SSL_key_update(inner, _REQUESTED) == 1
        _OPENSSL.SSL_do_handshake(inner)
