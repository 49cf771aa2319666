"""Which end point a path leads to, and which methods it takes.

Paths are matched as they come, without decoding, as in Triton (2.51); see `_decoded` for the one
exception. Knows no transport.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote


class Category(enum.Enum):
    """A group of end points to which access can be restricted; the value is its name in options."""

    HEALTH = "health"
    METADATA = "metadata"
    INFERENCE = "inference"
    SHARED_MEMORY = "shared-memory"
    MODEL_CONFIG = "model-config"
    MODEL_REPOSITORY = "model-repository"
    STATISTICS = "statistics"
    TRACE = "trace"
    LOGGING = "logging"


class Endpoint(enum.Enum):
    """An end point: its methods and its category."""

    LIVE = ("live", ("GET",), Category.HEALTH)
    READY = ("ready", ("GET",), Category.HEALTH)
    MODEL_READY = ("model ready", ("GET",), Category.HEALTH)
    SERVER = ("server", ("GET",), Category.METADATA)
    MODEL = ("model", ("GET",), Category.METADATA)
    INFER = ("infer", ("POST",), Category.INFERENCE)
    GENERATE = ("generate", ("POST",), Category.INFERENCE)
    GENERATE_STREAM = ("generate stream", ("POST",), Category.INFERENCE)
    CONFIG = ("config", ("GET",), Category.MODEL_CONFIG)
    STATISTICS = ("statistics", ("GET",), Category.STATISTICS)
    SLOTS = ("slots", ("GET",), Category.STATISTICS)
    INDEX = ("index", ("POST",), Category.MODEL_REPOSITORY)
    LOAD = ("load", ("POST",), Category.MODEL_REPOSITORY)
    UNLOAD = ("unload", ("POST",), Category.MODEL_REPOSITORY)
    REGION_STATUS = ("region status", ("GET",), Category.SHARED_MEMORY)
    REGION_REGISTER = ("region register", ("POST",), Category.SHARED_MEMORY)
    REGION_UNREGISTER = ("region unregister", ("POST",), Category.SHARED_MEMORY)
    TRACE = ("trace", ("GET", "POST"), Category.TRACE)
    LOGGING = ("logging", ("GET", "POST"), Category.LOGGING)

    def __init__(self, _title: str, methods: tuple[str, ...], category: Category) -> None:
        self.methods = methods
        self.category = category


@dataclass(frozen=True, slots=True)
class Route:
    """Where a path leads.

    `name` is the model's or the shared memory region's, "" when the path has none; `version` is
    "" or digits; `place` is the repository named by a path, or the kind of shared memory.
    """

    endpoint: Endpoint
    name: str = ""
    version: str = ""
    place: str = ""


_FIXED: Final[Mapping[str, Route]] = {
    "/v2": Route(Endpoint.SERVER),
    "/v2/health/live": Route(Endpoint.LIVE),
    "/v2/health/ready": Route(Endpoint.READY),
    "/v2/models/stats": Route(Endpoint.STATISTICS),
    "/v2/slots": Route(Endpoint.SLOTS),
    "/v2/trace/setting": Route(Endpoint.TRACE),
    "/v2/logging": Route(Endpoint.LOGGING),
}
_OF_MODELS: Final[Mapping[str | None, Endpoint]] = {
    None: Endpoint.MODEL,
    "ready": Endpoint.MODEL_READY,
    "infer": Endpoint.INFER,
    "generate": Endpoint.GENERATE,
    "generate_stream": Endpoint.GENERATE_STREAM,
    "config": Endpoint.CONFIG,
    "stats": Endpoint.STATISTICS,
    "slots": Endpoint.SLOTS,
    "trace/setting": Endpoint.TRACE,
}
_OF_REPOSITORIES: Final[Mapping[str | None, Endpoint]] = {
    None: Endpoint.INDEX,
    "load": Endpoint.LOAD,
    "unload": Endpoint.UNLOAD,
}
_OF_REGIONS: Final[Mapping[str | None, Endpoint]] = {
    "status": Endpoint.REGION_STATUS,
    "register": Endpoint.REGION_REGISTER,
    "unregister": Endpoint.REGION_UNREGISTER,
}
_MODEL: Final = re.compile(
    r"/v2/models/([^/]+)(?:/versions/([0-9]+))?"
    r"(?:/(ready|infer|generate|generate_stream|config|stats|slots|trace/setting))?"
)
_REPOSITORY: Final = re.compile(
    r"/v2/repository(?:/([^/]+))?/(?:index|models/([^/]+)/(load|unload))"
)
_REGION: Final = re.compile(
    r"/v2/(system|cuda)sharedmemory(?:/region/([^/]+))?/(status|register|unregister)"
)


@lru_cache(maxsize=4096)
def find_route(target: str) -> Route | None:
    """The route of a request target, whose query string does not count; None when there is none."""
    path = target.partition("?")[0]
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    match = _MODEL.fullmatch(path)
    if match is not None:
        name, version, rest = match.groups()
        return Route(_OF_MODELS[rest], _decoded(name), version or "")
    match = _REPOSITORY.fullmatch(path)
    if match is not None:
        place, name, rest = match.groups()
        return Route(_OF_REPOSITORIES[rest], _decoded(name or ""), place=place or "")
    match = _REGION.fullmatch(path)
    if match is not None:
        place, name, rest = match.groups()
        return Route(_OF_REGIONS[rest], _decoded(name or ""), place=place)
    return None


def _decoded(name: str) -> str:
    """The name without percent escapes, if they stand for nothing but what needs them.

    Clients escape names that have, say, a blank. Triton takes escapes for part of the name, so
    that such a model can't be reached; a needless escape is part of the name here, too.
    """
    if "%" not in name:
        return name
    plain = unquote(name)
    return plain if quote(plain) == name else name
