"""The speech dialects over gRPC, on the port of KServe's service: Riva's and Google's.

grpc_service        what a transport asks of a call
call, calls         a call: one that hears, and one with a single question and answer
resuming            what is ours to say of calls that clients come back to
hearing             the audio of a call, on one model or on one for each channel
riva_*, google_*    words: one dialect's messages from and to values, nothing else
"""

from streamgate.frontends.dialects.over_grpc.google_v1 import google_v1
from streamgate.frontends.dialects.over_grpc.google_v2 import google_v2
from streamgate.frontends.dialects.over_grpc.riva_asr import riva_asr
from streamgate.frontends.dialects.over_grpc.riva_nmt import riva_nmt

__all__ = ["google_v1", "google_v2", "riva_asr", "riva_nmt"]
