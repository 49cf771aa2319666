"""The one place where status words become numbers on a wire: gRPC, HTTP and WebSocket.

Every front end takes its numbers from here, whatever its dialect. Knows no transport library: the
numbers are plain integers.
"""

from __future__ import annotations

from typing import Final

from streamgate.errors import Code

GRPC_STATUS: Final[dict[Code, int]] = {
    Code.UNKNOWN: 2,
    Code.INTERNAL: 13,
    Code.NOT_FOUND: 5,
    Code.INVALID_ARG: 3,
    Code.UNAVAILABLE: 14,
    Code.UNSUPPORTED: 12,
    Code.ALREADY_EXISTS: 6,
    Code.CANCELLED: 1,
}
"""The number of the gRPC status that Triton answers with."""

HTTP_STATUS: Final[dict[Code, int]] = {
    Code.UNKNOWN: 400,
    Code.INTERNAL: 500,
    Code.NOT_FOUND: 404,
    Code.INVALID_ARG: 400,
    Code.UNAVAILABLE: 503,
    Code.UNSUPPORTED: 501,
    Code.ALREADY_EXISTS: 400,
    Code.CANCELLED: 400,
}
"""The HTTP status that Triton answers with: it knows no 409, 429 or 499."""

WEBSOCKET_CLOSE: Final[dict[Code, int]] = {
    Code.UNKNOWN: 1011,
    Code.INTERNAL: 1011,
    Code.NOT_FOUND: 1008,
    Code.INVALID_ARG: 1008,
    Code.UNAVAILABLE: 1013,
    Code.UNSUPPORTED: 1003,
    Code.ALREADY_EXISTS: 1008,
    Code.CANCELLED: 1001,
}
"""The close code of RFC 6455 (1013: the IANA registry) for a connection that ends with an error.

1008 (policy) is what the RFC offers when nothing fits better; 1013 (try again later) tells a
client that another attempt may work, which is true of UNAVAILABLE alone.
"""
