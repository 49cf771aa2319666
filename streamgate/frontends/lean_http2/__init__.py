"""gRPC on our own HTTP/2, under the handlers of `kserve_grpc`: opt-in, without TLS, cheap.

server        the front end: address, start and graceful stop
calls         methods and the handlers under them
protocol      a connection on an asyncio transport: reads, writes, timers
connection    the protocol's state machine: bytes in, calls and bytes out, no socket
stream, outbox    one call's two directions
heads, answers    header blocks in and out
frames, limits    layouts and numbers
"""

from streamgate.frontends.lean_http2.limits import Http2Limits
from streamgate.frontends.lean_http2.server import LeanGrpcFrontEnd

__all__ = ["Http2Limits", "LeanGrpcFrontEnd"]
