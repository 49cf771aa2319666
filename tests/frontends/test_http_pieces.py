"""The HTTP front end's pure parts: routes, JSON with Triton's error texts, compression."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from streamgate.errors import Code, ConfigError, StreamGateError
from streamgate.frontends.header_forwarding import HeaderForwarding
from streamgate.frontends.kserve_http.access import (
    RestrictedKey,
    restricted_endpoints,
)
from streamgate.frontends.kserve_http.compression import accepted_encoding, compress, decompress
from streamgate.frontends.kserve_http.decode import header_length
from streamgate.frontends.kserve_http.document import parse_json, parse_object, refuse_overflow
from streamgate.frontends.kserve_http.routes import Endpoint, Route, find_route

PARSE = "failed to parse the request JSON buffer: "


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", Route(Endpoint.SERVER)),
        ("/v2?x=/y", Route(Endpoint.SERVER)),
        ("/v2/health/live", Route(Endpoint.LIVE)),
        ("/v2/health/ready", Route(Endpoint.READY)),
        ("/v2/models/m", Route(Endpoint.MODEL, "m")),
        ("/v2/models/m/versions/07", Route(Endpoint.MODEL, "m", "07")),
        ("/v2/models/m/ready", Route(Endpoint.MODEL_READY, "m")),
        ("/v2/models/m/infer", Route(Endpoint.INFER, "m")),
        ("/v2/models/m/versions/0/infer?a=b", Route(Endpoint.INFER, "m", "0")),
        ("/v2/models/m/generate", Route(Endpoint.GENERATE, "m")),
        ("/v2/models/m/generate_stream", Route(Endpoint.GENERATE_STREAM, "m")),
        ("/v2/models/m/config", Route(Endpoint.CONFIG, "m")),
        ("/v2/models/m/stats", Route(Endpoint.STATISTICS, "m")),
        ("/v2/models/stats", Route(Endpoint.STATISTICS)),
        ("/v2/models/m/slots", Route(Endpoint.SLOTS, "m")),
        ("/v2/models/m/versions/2/slots", Route(Endpoint.SLOTS, "m", "2")),
        ("/v2/slots?now", Route(Endpoint.SLOTS)),
        ("/v2/models/slots", Route(Endpoint.MODEL, "slots")),
        ("/v2/models/stats/stats", Route(Endpoint.STATISTICS, "stats")),
        ("/v2/models/m/versions/1/trace/setting", Route(Endpoint.TRACE, "m", "1")),
        ("/v2/trace/setting", Route(Endpoint.TRACE)),
        ("/v2/logging", Route(Endpoint.LOGGING)),
        ("/v2/repository/index", Route(Endpoint.INDEX)),
        ("/v2/repository/r/index", Route(Endpoint.INDEX, place="r")),
        ("/v2/repository/models/m/load", Route(Endpoint.LOAD, "m")),
        ("/v2/repository/models/m/unload", Route(Endpoint.UNLOAD, "m")),
        ("/v2/repository/r/models/m/unload", Route(Endpoint.UNLOAD, "m", place="r")),
        ("/v2/repository/models/models/m/load", Route(Endpoint.LOAD, "m", place="models")),
        ("/v2/systemsharedmemory/status", Route(Endpoint.REGION_STATUS, place="system")),
        ("/v2/cudasharedmemory/region/r/status", Route(Endpoint.REGION_STATUS, "r", "", "cuda")),
        ("/v2/cudasharedmemory/unregister", Route(Endpoint.REGION_UNREGISTER, place="cuda")),
        (
            "/v2/systemsharedmemory/region/r/register",
            Route(Endpoint.REGION_REGISTER, "r", "", "system"),
        ),
        ("/v2/models/a%20b/infer", Route(Endpoint.INFER, "a b")),
        ("/v2/models/gr%C3%BCn", Route(Endpoint.MODEL, "grün")),
        ("/v2/models/%69dentity", Route(Endpoint.MODEL, "%69dentity")),
        ("/v2/models/50%", Route(Endpoint.MODEL, "50%")),
    ],
)
def test_paths_that_lead_somewhere(path: str, expected: Route) -> None:
    assert find_route(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "*",
        "/v1",
        "/v2/",
        "//v2",
        "/v2/health",
        "/v2/health/live/",
        "/v2/models",
        "/v2/models/",
        "/v2/models/m/",
        "/v2/models/m/infer/",
        "/v2/models/m/nothing",
        "/v2/models/m/versions/abc/ready",
        "/v2/models/m/versions/-1/ready",
        "/v2/models/m/versions/",
        "/v2/models/m/versions",
        "/v2/repository",
        "/v2/repository/models/m",
        "/v2/systemsharedmemory",
        "/v2/gpusharedmemory/status",
        "/v2/MODELS/m",
    ],
)
def test_paths_that_lead_nowhere(path: str) -> None:
    assert find_route(path) is None


def parse_error(text: str | bytes) -> str:
    with pytest.raises(StreamGateError) as caught:
        parse_json(text.encode() if isinstance(text, str) else text)
    assert caught.value.code is Code.INTERNAL
    assert caught.value.message.startswith(PARSE)
    return caught.value.message.removeprefix(PARSE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "The document is empty. at 0"),
        ("  \n", "The document is empty. at 0"),
        ("{bad", "Missing a name for object member. at 1"),
        ("{'a':1}", "Missing a name for object member. at 1"),
        ('{"a":1,}', "Missing a name for object member. at 7"),
        ('{"inputs":', "Invalid value. at 10"),
        ("[1,]", "Invalid value. at 3"),
        ("nope", "Invalid value. at 0"),
        ('{"a" 1}', "Missing a colon after a name of object member. at 5"),
        ('{"a":1 "b"', "Missing a comma or } after an object member. at 7"),
        ('{"a":[1 2]}', "Missing a comma or ] after an array element. at 8"),
        ('{"a":[1],"b":{} 3', "Missing a comma or } after an object member. at 16"),
        ("{} x", "The document root must not be followed by other values. at 3"),
        ('{"grün":} ', "Invalid value. at 9"),
        ('["abc', "Missing a closing quotation mark in string. at 1"),
        ('["a\nb"]', "Invalid encoding in string. at 3"),
        ('["\\x"]', "Invalid escape character in string. at 2"),
        ('["\\u00g0"]', "Incorrect hex digit after \\u escape in string. at 3"),
        ('["\\ud800"]', "The surrogate pair in string is invalid."),
        (b'["\xff"]', "Invalid encoding in string. at 2"),
        (b"\xef\xbb\xbf{}", "Invalid value. at 0"),
        ("9" * 5000, "Number too big to be stored in double."),
        ("[" * 100_000, "The document is nested too deeply."),
    ],
)
def test_what_is_no_json_is_told_in_rapidjsons_words(text: str | bytes, expected: str) -> None:
    assert parse_error(text) == expected


def test_surrogate_pairs_are_text() -> None:
    assert parse_json(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


@pytest.mark.parametrize("text", [b"[]", b"[1]", b"7", b'"text"', b"null"])
def test_a_value_that_is_no_object_has_no_members(text: bytes) -> None:
    assert parse_object(text) == {}


def test_numbers_beyond_a_double_are_refused_but_not_the_literal() -> None:
    refuse_overflow(b"[Infinity, -Infinity, NaN, 1e308, 1]")
    with pytest.raises(StreamGateError) as caught:
        refuse_overflow('{"grün": [Infinity, -1e400]}'.encode())
    assert caught.value.message == PARSE + "Number too big to be stored in double. at 21"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=0, deflate;q=0", None),
        ("identity, gzip", "gzip"),
        ("identity, gzip;q=0.9", None),
        ("identity;q=0.5, deflate;q=0.6", "deflate"),
        ("br, *", None),
        ("br;q=1.0, GZIP ; q=0.1", "gzip"),
        ("gzip;q=no", None),
    ],
)
def test_the_preferred_encoding(header: str | None, expected: str | None) -> None:
    assert accepted_encoding(header) == expected


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_encodings_are_those_of_other_programs(encoding: str) -> None:
    unpack = gzip.decompress if encoding == "gzip" else zlib.decompress
    assert unpack(compress(b"text" * 100, encoding)) == b"text" * 100
    packed = gzip.compress(b"x") if encoding == "gzip" else zlib.compress(b"x")
    assert decompress(packed, encoding, 1) == b"x"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"no gzip", "the request's body is no gzip stream: "),
        (zlib.compress(b"x"), "the request's body is no gzip stream: "),
        (gzip.compress(b"x" * 100)[:-9], "the request's body is a gzip stream that is cut short"),
        (gzip.compress(b"x") + b"y", "the request's body goes on after its gzip stream"),
        (b"", "the request's body is a gzip stream that is cut short"),
        (
            gzip.compress(bytes(1001)),
            (
                "Request JSON size exceeds the maximum allowed value of 1000 bytes. "
                "Use --http-max-input-size to increase the limit."
            ),
        ),
    ],
)
def test_compressed_bodies_that_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(StreamGateError) as caught:
        decompress(data, "gzip", 1000)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message.startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, 50), ("0", 0), ("", 0), ("abc", 0), (" 12abc", 12), ("+7", 7), ("50", 50)],
)
def test_the_length_of_the_json_is_read_as_atoi_does(text: str | None, expected: int) -> None:
    assert header_length(text, 50) == expected


@pytest.mark.parametrize(("text", "shown"), [("51", "51"), ("-1", "-1"), ("9999", "9999")])
def test_lengths_that_can_not_be(text: str, shown: str) -> None:
    with pytest.raises(StreamGateError) as caught:
        header_length(text, 50)
    expected = f"inference header size should be in range (0, 50), got: {shown}"
    assert caught.value.message == expected


def test_restricting_an_unknown_category_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown restricted API 'infer', expected one of "):
        restricted_endpoints({"infer": RestrictedKey("k", "v")})


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the header forward pattern '\(' is no regular"):
        HeaderForwarding("(")


def test_json_documents_pass() -> None:
    document = {"a": [1, 2.5, None, True, "grün"]}
    assert parse_object(json.dumps(document).encode()) == document
