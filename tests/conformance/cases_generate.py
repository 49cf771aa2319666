"""The generate extension: one response as JSON, or any number as server-sent events.

Facts sections 3.8 and 12.6.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.cases_raw_http import post
from tests.conformance.steps import Case

CASES: Final = (
    Case(
        "http_generate",
        "generate on a model of numbers",
        (
            post("/v2/models/two_versions/generate", {"INPUT": 5}),
            post("/v2/models/two_versions/generate", {"INPUT": [5], "id": "g"}),
            post("/v2/models/two_versions/versions/1/generate", {"INPUT": 5}),
            post("/v2/models/request_info/generate", {"INPUT": 5, "extra": 1, "word": "x"}),
            post("/v2/models/request_info/generate", {"parameters": {"INPUT": 5, "p": True}}),
        ),
    ),
    Case(
        "http_generate_refused",
        "generate requests that can't be converted",
        (
            post("/v2/models/two_versions/generate", {"INPUT": [1, 2]}),
            post("/v2/models/two_versions/generate", {"INPUT": "text"}),
            post("/v2/models/two_versions/generate", {}),
            post("/v2/models/two_versions/generate", {"INPUT": 5, "list": [1]}),
            post("/v2/models/two_versions/generate", "{bad"),
            post("/v2/models/two_versions/generate"),
            post("/v2/models/nobody/generate", {"INPUT": 5}),
            post("/v2/models/sequence_flags/generate", {"INPUT": 5, "sequence_id": 3}),
        ),
    ),
    Case(
        "http_generate_decoupled",
        "generate needs exactly one response",
        tuple(
            post("/v2/models/decoupled_repeat/generate", {"PROGRAM": list(program)})
            for program in ((1, -1, 1, 0), (1, -1, 0, 0), (2, -1, 0, 0), (0, -1, 0, 0))
        ),
    ),
    Case(
        "http_generate_stream",
        "server-sent events, one per response",
        (
            *(
                post("/v2/models/decoupled_repeat/generate_stream", {"PROGRAM": list(program)})
                for program in (
                    (1, -1, 1, 0),
                    (3, -1, 0, 0),
                    (3, 1, 0, 0),
                    (3, 0, 0, 0),
                    (0, -1, 0, 0),
                    (1, -1, 0, 1),
                )
            ),
            post("/v2/models/two_versions/generate_stream", {"INPUT": 5}),
            post("/v2/models/two_versions/generate_stream", {"INPUT": "text"}),
        ),
    ),
    Case(
        "http_generate_errors",
        "a model's error through generate",
        tuple(
            post("/v2/models/errors/generate", {"SELECTOR": way})
            for way in ("not_found", "internal", "raise_value_error")
        ),
    ),
)
