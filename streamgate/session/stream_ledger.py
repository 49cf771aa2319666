"""Whose streams there are, from the handshake to the end: what limits of streams are checked by.

A stream is a sequence or a reservation. One ID may have several at a time: a START that meets a
live sequence of its ID waits to supersede it. They end in the order of their STARTs, mostly; who
of their tenants is told of an end first makes a difference for a moment only.
"""

from collections import Counter
from typing import final

from streamgate.model.request import SequenceKey
from streamgate.session.tenants import STREAM_RETRY_NS, Account, Limit, OverLimit

StreamKey = tuple[str, SequenceKey]
"""A model and a correlation ID."""


@final
class StreamLedger:
    """All streams of a gateway. Knows no clock; bounded by the streams that are let in."""

    def __init__(self) -> None:
        self._accounts: dict[StreamKey, list[Account]] = {}
        self._reserved: set[StreamKey] = set()
        self._of_model: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._of_model.total()

    def open(
        self, account: Account, stream: StreamKey, model_limit: int, now: int, *, reserve: bool
    ) -> OverLimit | None:
        """Count one more stream, or say why there can't be one. `model_limit` is how many the model
        may have of all tenants together, 0 for any number.

        One that will supersede a stream of the same tenant needs no room.
        """
        accounts = self._accounts.get(stream, [])
        model = stream[0]
        if account in accounts:
            account.replace(model)
        else:
            refusal = self._refusal(account, model, model_limit, now)
            if refusal is not None:
                return refusal
        self._accounts.setdefault(stream, accounts).append(account)
        self._of_model[model] += 1
        if reserve:
            self._reserved.add(stream)
        return None

    def __contains__(self, stream: StreamKey) -> bool:
        return stream in self._accounts

    def come(self, account: Account, stream: StreamKey) -> None:
        """A stream of this tenant's goes on here that was let in elsewhere."""
        account.replace(stream[0])
        self._accounts.setdefault(stream, []).append(account)
        self._of_model[stream[0]] += 1

    def start(self, stream: StreamKey) -> bool:
        """A START comes: whether it is the one of what was reserved, and so no further stream."""
        was_reserved = stream in self._reserved
        self._reserved.discard(stream)
        return was_reserved

    def take_back_start(self, stream: StreamKey) -> None:
        """The START of what was reserved was refused: it is to come yet."""
        if stream in self._accounts:
            self._reserved.add(stream)

    def withdraw(self, account: Account, stream: StreamKey) -> None:
        """The newest stream that this tenant opened under the ID never came to be."""
        accounts = self._accounts.get(stream, [])
        for at in reversed(range(len(accounts))):
            if accounts[at] is account:
                self._remove(stream, at)
                return

    def end(self, stream: StreamKey) -> None:
        """The oldest stream of the ID is over. Nothing happens if none was opened here."""
        if stream in self._accounts:
            self._remove(stream, 0)

    def _refusal(
        self, account: Account, model: str, model_limit: int, now: int
    ) -> OverLimit | None:
        if model_limit and self._of_model[model] >= model_limit:
            account.note_refusal(Limit.MODEL)
            what = f"model '{model}' has all its {model_limit} streams; try again later"
            return OverLimit(Limit.MODEL, what, STREAM_RETRY_NS)
        return account.open(model, now)

    def _remove(self, stream: StreamKey, at: int) -> None:
        accounts = self._accounts[stream]
        accounts.pop(at).close(stream[0])
        if not accounts:
            del self._accounts[stream]
            self._reserved.discard(stream)
        self._of_model[stream[0]] -= 1
        if not self._of_model[stream[0]]:
            del self._of_model[stream[0]]
