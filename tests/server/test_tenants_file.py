"""The file of --tenants: read as it says, or refused with what is wrong in it."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from streamgate.errors import Code, StreamGateError
from streamgate.server.tenants_file import read_tenants
from streamgate.session.tenant import Rate, Tenant
from streamgate.session.tenants import hash_of

GOOD = {
    "tenants": [
        {
            "name": "acme",
            "keys": ["one", "sha256:" + sha256(b"two").hexdigest()],
            "streams_max": 50,
            "streams_max_by_model": {"words": 10},
            "requests_per_second": 0.5,
            "requests_burst": 3,
            "bytes_per_second": 64_000,
        },
        {"name": "", "streams_max": 0},
    ]
}


def test_a_file_as_the_documentation_shows_it(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "admission.md").read_text()
    (shown,) = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    file = tmp_path / "tenants.toml"
    file.write_text(shown)
    tenants = read_tenants(file)
    assert [tenant.name for tenant in tenants] == ["acme", "evening-school", ""]
    assert tenants[0].streams_max == 200
    assert tenants[0].streams_max_by_model == {"words": 50}
    assert tenants[0].requests == Rate(100.0, 200)
    assert tenants[0].bytes == Rate(8_000_000.0, 16_000_000)


def test_json_by_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "tenants.json"
    file.write_text(json.dumps(GOOD))
    hashes = tuple(sorted((hash_of("one"), hash_of("two"))))
    rate = Rate(0.5, 3), Rate(64_000.0, 64_000)
    assert read_tenants(file) == [
        Tenant("acme", hashes, 50, {"words": 10}, *rate),
        Tenant("", streams_max=0),
    ]


def with_first(**fields: object) -> object:
    return {"tenants": [{"name": "t", "keys": ["k"], **fields}]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([], "has no list 'tenants' of tables"),
        ({"tenants": ["t"]}, "has no list 'tenants' of tables"),
        ({"tenants": [{"keys": ["k"]}]}, "with the name None, expected a text"),
        (with_first(streams=3), "tenant 't': streams is '3', expected one of name, keys"),
        (with_first(keys=[]), "tenant 't': keys is '0 of them', expected at least one"),
        (with_first(keys="k"), "keys is 'something else', expected a list of texts"),
        (with_first(keys=["sha256:12"]), "keys is 'sha256:...', expected 64 hexadecimal digits"),
        ({"tenants": [{"name": "", "keys": ["k"]}]}, "expected none: it is whoever brings no"),
        (with_first(streams_max=-1), "streams_max is '-1', expected an integer from 0"),
        (with_first(streams_max=True), "streams_max is 'True', expected an integer from 0"),
        (with_first(streams_max_by_model=3), "streams_max_by_model is '3', expected a table"),
        (with_first(streams_max_by_model={"m": "x"}), "m is 'x', expected an integer"),
        (with_first(requests_per_second=0), "requests_per_second is '0', expected a number from"),
        (with_first(bytes_burst=5), "bytes_burst is '5', expected a bytes_per_second beside it"),
        (with_first(bytes_per_second=5, bytes_burst=0), "bytes_burst is '0', expected at least 1"),
        (
            {"tenants": [{"name": "t", "keys": ["k"]}, {"name": "t", "keys": ["l"]}]},
            "has two tenants of the name 't'",
        ),
        (
            {"tenants": [{"name": "t", "keys": ["k"]}, {"name": "u", "keys": ["k"]}]},
            "gives 't' and 'u' the same key",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, content: object, told: str) -> None:
    file = tmp_path / "tenants.json"
    file.write_text(json.dumps(content))
    with pytest.raises(StreamGateError) as caught:
        read_tenants(file)
    assert caught.value.code is Code.INVALID_ARG
    assert told in caught.value.message
    assert str(file) in caught.value.message


def test_a_key_with_a_slip_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "tenants.json"
    file.write_text(json.dumps(with_first(keys=["good-key", 5])))
    with pytest.raises(StreamGateError) as caught:
        read_tenants(file)
    assert "good-key" not in caught.value.message


@pytest.mark.parametrize("text", ["tenants = [", "\udcff"])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tenants.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StreamGateError, match="can't be read"):
        read_tenants(file)
    with pytest.raises(StreamGateError, match="can't be read"):
        read_tenants(tmp_path / "missing.toml")
