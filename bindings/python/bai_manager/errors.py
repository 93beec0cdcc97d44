"""What can go wrong: one exception class per error code of the library.

A value that cannot be right, be it of the wrong type, raises InvalidArgument, which is a ValueError, and nothing has
changed. Python's own TypeError is for calls: unknown or missing arguments, ids that are no texts.
"""

from __future__ import annotations

from typing import Dict, Mapping, Type

__all__ = [
    "BaiError", "InvalidArgument", "Unauthenticated", "PermissionDenied", "NotFound", "AlreadyExists", "Conflict",
    "QuotaExceeded", "Unschedulable", "Unavailable", "DeadlineExceeded", "Cancelled", "InDoubt", "Corruption",
    "Unsupported", "Internal",
]


class BaiError(Exception):
    """Any error of the library. ``str(error)`` is one sentence for humans."""

    #: "invalid-argument", "not-found", ...
    code: str = "internal"
    #: A machine-readable refinement, as "session-already-exists"; may be empty.
    kind: str = ""
    #: More about it by name, as {"existingSessionId": "..."}.
    data: Mapping[str, str] = {}

    def __init__(self, message: str = "", kind: str = "", data: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.data = dict(data or {})

    @property
    def message(self) -> str:
        return str(self)

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return type(self), (str(self), self.kind, dict(self.data))


class InvalidArgument(BaiError, ValueError):
    """Can never be right: says what, where and what would be."""

    code = "invalid-argument"


class Unauthenticated(BaiError):
    """The keypair is unknown or not active."""

    code = "unauthenticated"


class PermissionDenied(BaiError):
    """The caller may not do this."""

    code = "permission-denied"


class NotFound(BaiError, LookupError):
    """There is no such thing, or none that the caller may see."""

    code = "not-found"


class AlreadyExists(BaiError):
    """The name is taken."""

    code = "already-exists"


class Conflict(BaiError):
    """Not in the present state of things."""

    code = "conflict"


class QuotaExceeded(BaiError):
    """A limit of a policy or of the manager; ``kind`` says which."""

    code = "quota-exceeded"


class Unschedulable(BaiError):
    """No agent could ever satisfy the request."""

    code = "unschedulable"


class Unavailable(BaiError):
    """Closed, or out of reach; a retry may help."""

    code = "unavailable"


class DeadlineExceeded(BaiError, TimeoutError):
    """Did not happen in time."""

    code = "deadline-exceeded"


class Cancelled(BaiError):
    """Given up before it was done."""

    code = "cancelled"


class InDoubt(BaiError):
    """A commit was sent and its outcome is unknown."""

    code = "in-doubt"


class Corruption(BaiError):
    """Stored bytes contradict each other or do not decode."""

    code = "corruption"


class Unsupported(BaiError):
    """Not offered here."""

    code = "unsupported"


class Internal(BaiError):
    """A defect of the library."""

    code = "internal"


_BY_CODE: Dict[str, Type[BaiError]] = {
    cls.code: cls
    for cls in (InvalidArgument, Unauthenticated, PermissionDenied, NotFound, AlreadyExists, Conflict, QuotaExceeded,
                Unschedulable, Unavailable, DeadlineExceeded, Cancelled, InDoubt, Corruption, Unsupported, Internal)
}


def make(code: str, message: str, kind: str = "", data: Mapping[str, str] | None = None) -> BaiError:
    """The exception of that code."""
    return _BY_CODE.get(code, Internal)(message, kind, data)
