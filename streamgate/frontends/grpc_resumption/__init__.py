"""gRPC calls that clients come back to by metadata, of any service and on both transports.

    metadata     what a call's metadata says: names, and what may stand there
    stream       a conversation that outlives the calls that carry it
    reception    who gets one: a new one, or one that was lost and comes back

What a conversation is, and whether its messages can say their numbers, is its service's.
"""

from streamgate.frontends.grpc_resumption.reception import (
    Beginning,
    StreamReception,
    StreamResumption,
)
from streamgate.frontends.grpc_resumption.stream import KeepLimits, ResumableStream, Words

__all__ = [
    "Beginning",
    "KeepLimits",
    "ResumableStream",
    "StreamReception",
    "StreamResumption",
    "Words",
]
