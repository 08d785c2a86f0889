"""Who is answered without keys: programs on the same machine that speak to it by its own name.

A page of the web that a browser on this machine shows can send requests here too. It cannot hide where it comes from
(``Origin``; ``Sec-Fetch-Site`` for what has no origin, such as a picture), and a name of its own that it lets point
here is not one of ours (``Host``). What a proxy passes on comes from elsewhere (``Forwarded``).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from .asgi import Scope
from .errors import NotLocal

_PROXIED: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a name or an address of the machine itself: localhost, 127.0.0.0/8, ::1."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_local(scope: Scope) -> None:
    """Raise ``NotLocal`` unless a request is from this machine to this machine."""
    hosts: list[bytes] = []
    for name, value in scope["headers"]:
        if name == b"host":
            hosts.append(value)
        elif name in _PROXIED:
            raise NotLocal(name.decode(), "no such header")
    if len(hosts) != 1 or not is_loopback(_name_of(hosts[0])):
        raise NotLocal("host", "one name of this machine, such as localhost")
    for name, value in scope["headers"]:
        if name == b"origin" and value != scope["scheme"].encode() + b"://" + hosts[0]:
            raise NotLocal("origin", "none, or that of this service")
        if name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            raise NotLocal("sec-fetch-site", "same-origin or none")


def _name_of(host: bytes) -> str:
    """Return the name in a ``Host`` header, without its port."""
    text = host.decode("latin-1")
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0]
