"""KServe v2 over HTTP, in Triton's dialect.

server      the front end: address, options, start and graceful stop
aio         mounts the handlers below on aiohttp; nothing else knows a transport
routes      which end point a path leads to
access      forwarded headers and restricted end points
infer       one infer call: decode, parameters, compression, exchange, encode
generate    the generate extension
control     every other end point
document    JSON, and what is wrong with it in Triton's words
answer      statuses, content types, error bodies
"""

from streamgate.frontends.kserve_http.access import RestrictedKey
from streamgate.frontends.kserve_http.server import HttpFrontEnd, HttpOptions

__all__ = ["HttpFrontEnd", "HttpOptions", "RestrictedKey"]
