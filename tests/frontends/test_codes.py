import grpc
import pytest

from streamgate.errors import Code
from streamgate.frontends.codes import GRPC_STATUS, HTTP_STATUS, WEBSOCKET_CLOSE


@pytest.mark.parametrize("table", [GRPC_STATUS, HTTP_STATUS, WEBSOCKET_CLOSE])
def test_every_code_has_a_number(table: dict[Code, int]) -> None:
    assert set(table) == set(Code)


def test_grpc_numbers_are_those_of_the_library() -> None:
    names = {Code.INVALID_ARG: "INVALID_ARGUMENT", Code.UNSUPPORTED: "UNIMPLEMENTED"}
    for code, number in GRPC_STATUS.items():
        status = getattr(grpc.StatusCode, names.get(code, code.name))
        assert status.value[0] == number


def test_http_has_no_status_that_triton_lacks() -> None:
    assert set(HTTP_STATUS.values()) == {400, 404, 500, 501, 503}


def test_close_codes_may_be_sent_by_a_server() -> None:
    assert set(WEBSOCKET_CLOSE.values()) <= {1000, 1001, 1003, 1007, 1008, 1009, 1011, 1012, 1013}
