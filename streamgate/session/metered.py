"""A gateway whose clients have limits: each sees it through the account of the key that it brings.

Decides nothing: accounts and ledger do (`tenants`, `stream_ledger`). Refusals are raised before the
gateway behind it hears of the request, as OverLimitError.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, final

from streamgate.errors import OverLimitError
from streamgate.model.request import Request, Response, SequenceKey
from streamgate.model.statistics import TenantStatistics
from streamgate.session.gateway import (
    Call,
    Connection,
    EndSink,
    Gateway,
    ModelInfo,
    ResponseSink,
    WarningSink,
)
from streamgate.session.passing import PassingGateway
from streamgate.session.stream_ledger import StreamKey, StreamLedger
from streamgate.session.tenants import ANYBODY, NS, Account, OverLimit, Tenants

RETRY_SECONDS_MIN: Final = 0.001


@final
class Meters:
    """What all clients of a gateway share: the tenants, their streams, the clock.

    `share` is among how many processes the clients are spread, as for `tenants`.
    """

    def __init__(
        self, tenants: Tenants, share: int = 1, now: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.tenants = tenants
        self.ledger = StreamLedger()
        self.now = now
        self._share = share
        self._callers: dict[StreamKey, Account] = {}

    def model_limit(self, model: ModelInfo) -> int:
        """How many streams of a model there may be in this process; 0 for any number."""
        return -(-model.config.max_streams // self._share)

    def call(self, stream: StreamKey, account: Account) -> None:
        """A request for a stream that does not live here: if it comes from another server, then it
        is this tenant's."""
        self._callers[stream] = account

    def answer(self, stream: StreamKey) -> None:
        """That request was answered: it has come by now, or does not."""
        self._callers.pop(stream, None)

    def come(self, model: str, sequence: SequenceKey) -> None:
        """A stream has come. It was let in where it began: no limit is for it."""
        stream = (model, sequence)
        account = self._callers.pop(stream, None) or self.tenants.account("")
        self.ledger.come(account, stream)

    def end(self, model: str, sequence: SequenceKey) -> None:
        """A stream is over, whoever's it was."""
        self.ledger.end((model, sequence))


@final
class MeteredGateway(PassingGateway):
    """Implements `streamgate.session.gateway.Gateway` over another, for one tenant.

    The first one made over a gateway is for those without a key; `of` makes the others.
    """

    def __init__(self, gateway: Gateway, meters: Meters, account: Account | None = None) -> None:
        super().__init__(gateway)
        self._meters = meters
        self._account = account if account is not None else meters.tenants.account("")
        self._others: dict[str, MeteredGateway] = {self._account.tenant.name: self}
        if account is None:
            assert self._account.tenant.name == ANYBODY
            gateway.watch_sequences(meters.end, meters.come)

    def of(self, key: str) -> "MeteredGateway":
        account = self._meters.tenants.account(key)
        name = account.tenant.name
        if name == self._account.tenant.name:
            return self
        other = self._others.get(name)
        if other is None:
            other = MeteredGateway(self._gateway, self._meters, account)
            self._others[name] = other
        return other

    def owe(self, size_bytes: int) -> float:
        return self._account.owe(size_bytes, self._meters.now()) / NS

    def tenants(self) -> Sequence[TenantStatistics]:
        return self._meters.tenants.statistics()

    def connect(
        self, on_sequence_end: EndSink | None = None, on_warning: WarningSink | None = None
    ) -> Connection:
        connection = self._gateway.connect(on_sequence_end, on_warning)
        return _MeteredConnection(connection, self._gateway, self._meters, self._account)


@final
class _MeteredConnection:
    """Implements `streamgate.session.gateway.Connection` for one tenant."""

    __slots__ = (
        "_account",
        "_connection",
        "_gateway",
        "_meters",
        "close",
        "end_sequence",
        "finish",
        "keep",
        "pause",
        "resume",
    )

    def __init__(
        self, connection: Connection, gateway: Gateway, meters: Meters, account: Account
    ) -> None:
        self._connection = connection
        self._gateway = gateway
        self._meters = meters
        self._account = account
        self.keep = connection.keep
        self.end_sequence = connection.end_sequence
        self.finish = connection.finish
        self.pause = connection.pause
        self.resume = connection.resume
        self.close = connection.close

    def submit(self, request: Request, sink: ResponseSink) -> Call:
        if request.sequence and not request.start:
            return self._go_on(request, sink)
        model = self._gateway.model(request.model, request.version)
        if not request.sequence or not model.config.stateful:
            _check(self._account.ask(self._meters.now()))
            return self._connection.submit(request, sink)
        return self._start(model, request, sink)

    def _go_on(self, request: Request, sink: ResponseSink) -> Call:
        meters, stream = self._meters, (request.model, request.sequence)
        if stream in meters.ledger:
            return self._connection.submit(request, sink)

        def receive(response: Response) -> None:
            if response.final:
                meters.answer(stream)
            sink(response)

        meters.call(stream, self._account)
        try:
            return self._connection.submit(request, receive)
        except BaseException:
            meters.answer(stream)
            raise

    async def reserve(self, model: str, version: str, sequence: SequenceKey) -> None:
        info = self._gateway.model(model, version)
        self._open(info, (model, sequence), reserve=True)
        try:
            await self._connection.reserve(model, version, sequence)
        except BaseException:
            self._meters.ledger.withdraw(self._account, (model, sequence))
            raise

    def _start(self, model: ModelInfo, request: Request, sink: ResponseSink) -> Call:
        stream = (request.model, request.sequence)
        ledger = self._meters.ledger
        was_reserved = ledger.start(stream)
        if not was_reserved:
            self._open(model, stream, reserve=False)

        def take_back() -> None:
            if was_reserved:
                ledger.take_back_start(stream)
            else:
                ledger.withdraw(self._account, stream)

        def receive(response: Response) -> None:
            if response.final and not response.admitted:
                take_back()
            sink(response)

        try:
            return self._connection.submit(request, receive)
        except BaseException:
            take_back()
            raise

    def _open(self, model: ModelInfo, stream: StreamKey, *, reserve: bool) -> None:
        meters = self._meters
        limit = meters.model_limit(model)
        _check(meters.ledger.open(self._account, stream, limit, meters.now(), reserve=reserve))


def _check(refusal: OverLimit | None) -> None:
    if refusal is not None:
        raise OverLimitError(refusal.message, max(RETRY_SECONDS_MIN, refusal.retry_ns / NS))
