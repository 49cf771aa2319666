"""Every reason of the scheduler has its words."""

import pytest

from streamgate.core.commands import Rejection
from streamgate.engine.rejections import failure_for
from streamgate.errors import Code, EndReason, Failure
from streamgate.model.request import Request

REQUEST = Request("{m}", sequence="{s}", id="{i}")


@pytest.mark.parametrize("reason", Rejection)
def test_every_reason_is_told(reason: Rejection) -> None:
    """Whatever is in the names that are told, they are told as they are."""
    failure = failure_for(reason, REQUEST, EndReason.IDLE)
    told = failure.message.replace("{m}", "").replace("{s}", "").replace("{i}", "")
    assert "{" not in told
    assert bool(told) is (failure.code is not Code.CANCELLED or "ended" in told)


def test_names_are_told_as_they_are() -> None:
    assert failure_for(Rejection.INSTANCE_LOST, REQUEST) == Failure(
        Code.UNAVAILABLE,
        "sequence {s} of model '{m}' ended: the model instance that held its state was lost",
    )
