"""The position that a client says its request has: so one that comes again is known as such."""

from typing import Final

from streamgate.errors import Code, StreamGateError
from streamgate.model.request import Request

POSITION_PARAMETER: Final = "streamgate_position"


def take_position(request: Request) -> int | None:
    """The position, taken out of what the request's model gets; None for none. Raises
    StreamGateError (INVALID_ARG) for what is none."""
    if POSITION_PARAMETER not in request.parameters:
        return None
    parameters = dict(request.parameters)
    position = parameters.pop(POSITION_PARAMETER)
    request.parameters = parameters
    if isinstance(position, bool) or not isinstance(position, int) or position < 0:
        raise StreamGateError(
            Code.INVALID_ARG,
            f"'{POSITION_PARAMETER}' is {position!r:.40}, expected a number from 0",
        )
    return position


def out_of_turn(request: Request, position: int, following: int) -> StreamGateError:
    """A request with a position that can't be served here, where `following` comes next."""
    what = f"'{POSITION_PARAMETER}' is {position}, but {following} requests of sequence "
    if position > following:
        text = f"{what}{request.sequence} have come: send number {following} first"
    else:
        text = f"{what}{request.sequence} have come, and this server keeps no answers"
    return StreamGateError(Code.INVALID_ARG, text)
