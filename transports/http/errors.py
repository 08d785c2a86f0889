"""The errors that only HTTP has: of a path, a method, a content type, a slow body, a request that is not local."""

from __future__ import annotations

from solvent.engine.values.errors import SolventError


class HttpError(SolventError):
    """A request that was refused before any operation saw it. Nothing was done."""


class UnknownPath(HttpError):
    """There is nothing at this path."""

    code = "unknown_path"
    status = 404

    def __init__(self) -> None:
        super().__init__("no such path: operations are at /v1/{environment}/{customer}/{operation}")


class MethodNotAllowed(HttpError):
    """The path exists, but not for this method. ``allowed`` are those that it has, such as "GET, POST"."""

    code = "method_not_allowed"
    status = 405
    fields = ("allowed",)

    def __init__(self, allowed: str) -> None:
        super().__init__(f"this path takes {allowed}")
        self.allowed = allowed


class RequestTimeout(HttpError):
    """The body did not arrive in time."""

    code = "request_timeout"
    status = 408
    retry_safe = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no part of the body arrived for {seconds:g} s")


class UnsupportedMediaType(HttpError):
    """The body is neither JSON nor, where the operation takes it, NDJSON. ``expected`` are the types it may have."""

    code = "unsupported_media_type"
    status = 415
    fields = ("expected",)

    def __init__(self, expected: str, *, got: str) -> None:
        super().__init__(f"content-type: expected {expected}, got {got}")
        self.expected = expected


class NotLocal(HttpError):
    """Without keys, only programs on the same machine are answered. ``field`` is the header that says otherwise."""

    code = "not_local"
    status = 403
    fields = ("field",)

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}, because this service has no keys and answers its machine only")
        self.field = field


class AddressInUse(SolventError):
    """The server cannot listen at the address."""

    code = "address_in_use"
    status = 503


class HttpNotInstalled(SolventError):
    """The packages that HTTP needs are not installed."""

    code = "http_not_installed"

    def __init__(self) -> None:
        super().__init__('HTTP needs more packages: pip install "solvent[http]"')
