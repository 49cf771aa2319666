"""The secret that signs resume tokens, from its file."""

from pathlib import Path

import pytest

from streamgate.errors import StreamGateError
from streamgate.frontends.grpc_resumption.reception import PURPOSE as STREAM
from streamgate.frontends.sockets.contract import Handshake
from streamgate.frontends.sockets.resumption import PURPOSE as SESSION
from streamgate.server.resuming import read_secret, resumption_of, stream_resumption_of
from streamgate.server.settings import ResumeSettings
from streamgate.session.tokens import TokenError

HANDSHAKE = Handshake.of("/v1/speech", {})


def test_servers_that_share_a_file_read_each_others_tokens(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"  a secret of some length\n")
    settings = ResumeSettings(30.0, read_secret(path))
    one, other, stranger = (
        resumption_of(each) for each in (settings, settings, ResumeSettings(30.0, None))
    )
    assert one is not None
    assert other is not None
    assert stranger is not None
    session = one.open("streamgate", HANDSHAKE)
    assert other.read(session.grant.token).session == session.number
    with pytest.raises(StreamGateError, match="the resume token is not valid"):
        stranger.read(session.grant.token)


def test_a_token_of_a_websocket_session_opens_no_grpc_stream() -> None:
    settings = ResumeSettings(30.0, b"a secret of some length")
    resumption = resumption_of(settings)
    assert resumption is not None
    session = resumption.open("streamgate", HANDSHAKE)
    signer = stream_resumption_of(settings).signer
    with pytest.raises(TokenError):
        signer.verify(STREAM, session.grant.token)
    assert signer.verify(SESSION, session.grant.token).session == session.number


def test_a_secret_must_be_there_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with pytest.raises(StreamGateError, match=r"--resume-secret-file .*secret can't be read"):
        read_secret(path)
    path.write_bytes(b"short\n")
    with pytest.raises(StreamGateError, match=r"secret has 5 bytes, expected at least 16"):
        read_secret(path)
