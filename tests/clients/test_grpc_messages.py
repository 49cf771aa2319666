"""Our messages are those of the clients' own files, and live in one process with them."""

import pytest

from tests.clients.environment import ROOT, drive, needs_clients

pytestmark = [needs_clients, pytest.mark.slow]


async def test_every_field_of_ours_is_as_the_clients_have_it() -> None:
    found = await drive("grpc_messages", ROOT)
    assert found["wrong"] == []
    assert found["compared"] > 150
