"""From the settings to what keeps sessions for clients that come back."""

from pathlib import Path

from streamgate.errors import Code, StreamGateError
from streamgate.frontends.grpc_resumption import StreamResumption
from streamgate.frontends.sockets.resumption import ResumeOptions, Resumption
from streamgate.server.settings import ResumeSettings
from streamgate.session.tokens import SECRET_BYTES_MIN, TokenSigner
from streamgate.snapshot.contract import SessionStore


def resumption_of(
    settings: ResumeSettings,
    owner: str = "server",
    directory: Path | None = None,
    store: SessionStore | None = None,
) -> Resumption | None:
    """None where no session is to be kept. `owner` is the name of this process among those that
    share the secret, `directory` where they find each other's sockets, `store` where others find
    sessions when this process is gone."""
    if not settings.seconds:
        return None
    options = ResumeOptions(_signer(settings), settings.seconds, owner, directory, store=store)
    return Resumption(options)


def stream_resumption_of(settings: ResumeSettings) -> StreamResumption:
    """What clients of gRPC streams are promised that ask to be waited for."""
    return StreamResumption(_signer(settings), settings.seconds)


def _signer(settings: ResumeSettings) -> TokenSigner:
    return TokenSigner(settings.secret) if settings.secret else TokenSigner.random()


def read_secret(path: Path) -> bytes:
    """The secret in a file, without the white space around it. Raises StreamGateError."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StreamGateError(
            Code.INVALID_ARG, f"--resume-secret-file {path} can't be read: {error}"
        ) from None
    if len(secret) < SECRET_BYTES_MIN:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"--resume-secret-file {path} has {len(secret)} bytes, expected at least "
            f"{SECRET_BYTES_MIN}",
        )
    return secret
