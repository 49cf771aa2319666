"""How a session is resumed, in OpenAI's words: a field `resume` of the session, of our own.

Their SDK comes again by itself if it is given an `on_reconnecting`, and passes the field through.
"""

from typing import Any

from streamgate.errors import Code, Failure
from streamgate.frontends.dialects.openai.errors import OpenAiError
from streamgate.frontends.dialects.openai.messages import error_event
from streamgate.frontends.sockets.contract import Grant, Outlet, Received


def resume_field(outlet: Outlet) -> dict[str, Any]:
    """Of the event that is emitted next: it is number `last_event`."""
    grant = outlet.grant
    if grant is None:
        return {}
    return _field(grant, outlet.next_event)


def resumed_field(grant: Grant, received: Received, last_event: int) -> dict[str, Any]:
    """Of the event that greets a client which is back. It has no number: the next one is
    `last_event` + 1. `received` is what has come of the client's messages."""
    field = _field(grant, last_event)
    field["resume"]["received"] = {"messages": received.messages}
    return field


def resume_error(failure: Failure) -> OpenAiError:
    """Why a session is not resumed."""
    if failure.code is Code.NOT_FOUND:
        return OpenAiError(failure.message, "resume", "session_expired", 404)
    if failure.code is Code.UNAVAILABLE:
        return OpenAiError(failure.message, "resume", "session_unavailable", 503)
    return OpenAiError(failure.message, "resume", "invalid_resume")


def superseded_event() -> str:
    """To a client that is still there while its session is resumed over another connection."""
    text = "The session was resumed over another connection."
    return error_event(OpenAiError(text, None, "session_superseded"))


def _field(grant: Grant, last_event: int) -> dict[str, Any]:
    return {"resume": {"token": grant.token, "seconds": grant.seconds, "last_event": last_event}}
