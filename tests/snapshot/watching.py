"""A watcher that writes down what it is told, and a writer's results as they are told stored."""

import itertools

from streamgate.snapshot.contract import KeptKey, KeptResult, SequenceWriter

_numbers = itertools.count(1)


def new_key(model: str = "hash") -> KeptKey:
    return KeptKey(model, next(_numbers))


class Watcher:
    def __init__(self) -> None:
        self.fenced = 0
        self.unkept: list[str] = []
        self.stored: list[tuple[int, int]] = []

    def on_fenced(self) -> None:
        self.fenced += 1

    def on_unkept(self, why: str) -> None:
        self.unkept.append(why)

    def put(self, writer: SequenceWriter, result: KeptResult) -> None:
        place = (result.position, result.index)
        writer.put_result(*place, result.data, lambda: self.stored.append(place))
