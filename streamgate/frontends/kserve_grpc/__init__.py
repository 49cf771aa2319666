"""KServe v2 over gRPC, in Triton's dialect: the service `inference.GRPCInferenceService`.

    server          the front end: address, options, start and graceful stop
    aio             mounts the handlers below on grpc.aio; nothing else handles its calls
    unary, stream   one ModelInfer call; one ModelStreamInfer call: bytes in, bytes out, callbacks
    resumption      what messages say of streams that clients come back to
    control         every other RPC of the service
    access          forwarded headers and restricted RPCs
    health          grpc.health.v1 and reflection
    decode, parameters, contents, encode    messages to values and back

`unary` and `stream` know no transport, so that another one can be put under them.
"""

from streamgate.frontends.kserve_grpc.server import GrpcFrontEnd, GrpcOptions
from streamgate.frontends.kserve_grpc.stream import StreamLimits

__all__ = ["GrpcFrontEnd", "GrpcOptions", "StreamLimits"]
