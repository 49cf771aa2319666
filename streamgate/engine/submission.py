"""A request as the scheduler sees it."""

from typing import Final

from streamgate.core.events import Submit
from streamgate.core.ids import OwnerNumber, RequestNumber
from streamgate.model.request import Request

MAX_TIMEOUT_US: Final = 10**13
"""Longer request timeouts (a negative one arrives as a huge one) mean none: 115 days."""


def submission_of(number: RequestNumber, request: Request, owner: OwnerNumber) -> Submit:
    """What the scheduler is told of a checked request."""
    timeout_us = request.timeout_us
    return Submit(
        number,
        request.sequence,
        request.start,
        request.end,
        request.rows,
        request.signature,
        request.priority,
        timeout_us * 1000 if 0 < timeout_us <= MAX_TIMEOUT_US else 0,
        owner,
    )
