"""Steps padded to the largest batch: a row's bits do not depend on who shares its batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamgate.backend.contract import TensorSession, TensorStep
from streamgate.backend.fake import FakeBackend
from streamgate.core.commands import Row, Step
from streamgate.core.ids import NO_REQUEST, Generation, InstanceIndex, Ns, RequestNumber, SlotIndex
from streamgate.core.ids import StepNumber as Number
from streamgate.engine.arena import Arena
from streamgate.engine.live import LiveRequest
from streamgate.engine.tensor_runner import TensorRunner
from streamgate.model.config import (
    DirectStrategy,
    Durability,
    ModelConfig,
    SequenceBatching,
    StateSpec,
)
from streamgate.model.datatypes import DataType
from streamgate.model.request import Request, Response
from streamgate.model.tensor import Array, Tensor
from streamgate_onnxruntime import create
from tests.backend.fake_models import fake_config, fake_context, stateless_config
from tests.backends.onnx_models import configure, context, model_files, node, save, spec, tensor
from tests.engine.state_models import State, build
from tests.engine.state_models import configure as state_config

WIDTH, BUCKET = 67, 16
FIXED = Durability(fixed_bucket=True)


@dataclass
class Seen:
    """A session, and the batches that it was given."""

    session: TensorSession
    batches: list[Mapping[str, Array]]

    def run(self, step: TensorStep) -> Mapping[str, Array]:
        self.batches.append(dict(step.inputs))
        return self.session.run(step)

    def close(self) -> None:
        self.session.close()


class Bench:
    """A model's runner, without an engine around it."""

    def __init__(self, config: ModelConfig, session: Any) -> None:
        self.seen = Seen(session, [])
        slots = config.sequences.slots if config.sequences else 1
        self.arena = Arena(config.states, slots, batches=config.batches)
        self.runner = TensorRunner(config, self.seen, self.arena)

    def run(self, rows: Sequence[tuple[Row, Sequence[Tensor]]]) -> list[dict[str, Array]]:
        """The outputs of each row of one step, but for null rows."""
        lives: list[LiveRequest | None] = []
        for row, inputs in rows:
            if row.request == NO_REQUEST:
                lives.append(None)
                continue
            request = Request("m", inputs=inputs, rows=row.rows, sequence=row.sequence)
            lives.append(LiveRequest(row.request, request, ignore, ignore_late, Ns(0), 0))
        step = Step(Number(1), InstanceIndex(0), tuple(row for row, _ in rows))
        outcome = self.runner.run(step, lives)
        assert outcome.failure is None, outcome.failure
        return [
            {each.name: each.array for each in response.outputs}
            for _, response in outcome.responses
        ]


def ignore(response: Response) -> None:
    del response


def ignore_late(live: LiveRequest, response: Response) -> None:
    del live, response


def row(number: int, slot: int = 0, *, start: bool = False, rows: int = 1, key: int = 0) -> Row:
    return Row(RequestNumber(number), SlotIndex(slot), Generation(1), key, start=start, rows=rows)


def floats(name: str, seed: int, rows: int = 1) -> Tensor:
    array = np.random.default_rng(seed).standard_normal((rows, WIDTH)).astype(np.float32)
    return Tensor(name, DataType.FP32, array.shape, raw=array.tobytes())


def at_run_time(weights: str, batched: str) -> list[Any]:
    """The weights as W, which the runtime can't know before it runs: packed ahead, they would be
    multiplied in the same way in batches of all sizes."""
    return [
        node("Shape", [batched], ["SHAPE"], start=0, end=1),
        node("Cast", ["SHAPE"], ["SIZE"], to=1),
        node("Div", ["SIZE", "SIZE"], ["ONE"]),
        node("Mul", [weights, "ONE"], ["W"]),
    ]


def product(folder: Path, durability: Durability) -> Bench:
    """OUT = X @ W, stateless."""
    files = model_files(folder)
    weights = np.random.default_rng(1).standard_normal((WIDTH, WIDTH)).astype(np.float32)
    save(
        files,
        [*at_run_time("WEIGHTS", "X"), node("MatMul", ["X", "W"], ["OUT"])],
        [tensor("X", ["batch", WIDTH])],
        [tensor("OUT", ["batch", WIDTH])],
        {"WEIGHTS": weights},
    )
    config = configure([spec("X", [WIDTH])], [spec("OUT", [WIDTH])], BUCKET, durability=durability)
    return Bench(config, create().load(context(config, files)))


def recurrent(folder: Path, durability: Durability) -> Bench:
    """OUT = H' = tanh(X @ W + H @ W)."""
    files = model_files(folder)
    weights = np.random.default_rng(2).standard_normal((WIDTH, WIDTH)).astype(np.float32) / 8
    nodes = [
        *at_run_time("WEIGHTS", "X"),
        node("MatMul", ["X", "W"], ["XW"]),
        node("MatMul", ["H", "W"], ["HW"]),
        node("Add", ["XW", "HW"], ["SUM"]),
        node("Tanh", ["SUM"], ["H_OUT"]),
        node("Identity", ["H_OUT"], ["OUT"]),
    ]
    wide: list[int | str] = ["batch", WIDTH]
    save(
        files,
        nodes,
        [tensor("X", wide), tensor("H", wide)],
        [tensor("OUT", wide), tensor("H_OUT", wide)],
        {"WEIGHTS": weights},
    )
    config = configure(
        [spec("X", [WIDTH])],
        [spec("OUT", [WIDTH])],
        BUCKET,
        states=[StateSpec("H", "H_OUT", DataType.FP32, (WIDTH,))],
        durability=durability,
    )
    return Bench(config, create().load(context(config, files)))


def run_stateless(bench: Bench, neighbours: int, place: int) -> bytes:
    """What request 1 is answered with so many neighbours, `place` of them before it."""
    rows = [(row(100 + index), [floats("X", 100 + index)]) for index in range(neighbours)]
    rows.insert(place, (row(1), [floats("X", 7)]))
    return bytes(bench.run(rows)[place]["OUT"].tobytes())


def test_without_it_the_bits_of_a_row_depend_on_its_neighbours(tmp_path: Path) -> None:
    """Else nothing below would show anything. A machine may be such that they don't."""
    bench = product(tmp_path, Durability())
    found = {run_stateless(bench, count, 0) for count in (0, 1, 3, 7, 15)}
    if len(found) == 1:
        pytest.skip("here, ONNX Runtime gives the same bits for each size of a batch")


@pytest.mark.parametrize("neighbours", [0, 1, 3, 7, 15])
def test_a_request_has_the_same_bits_whoever_shares_its_batch(
    tmp_path: Path, neighbours: int
) -> None:
    bench = product(tmp_path, FIXED)
    alone = run_stateless(bench, 0, 0)
    for place in {0, neighbours // 2, neighbours}:
        assert run_stateless(bench, neighbours, place) == alone
    assert {len(batch["X"]) for batch in bench.seen.batches} == {BUCKET}


def test_a_request_of_many_rows_is_padded_too(tmp_path: Path) -> None:
    bench = product(tmp_path, FIXED)
    (alone,) = bench.run([(row(1, rows=5), [floats("X", 7, 5)])])
    both = bench.run([(row(2, rows=4), [floats("X", 8, 4)]), (row(1, rows=5), [floats("X", 7, 5)])])
    assert alone["OUT"].shape == (5, WIDTH)
    assert both[1]["OUT"].tobytes() == alone["OUT"].tobytes()
    assert {len(batch["X"]) for batch in bench.seen.batches} == {BUCKET}


def run_sequence(bench: Bench, slot: int, crowds: Sequence[int]) -> list[bytes]:
    """The answers to a sequence's steps in this slot, each with so many neighbours before it, which
    are in other slots."""
    answers = []
    others = [each for each in range(BUCKET) if each != slot]
    for step, crowd in enumerate(crowds):
        rows = [
            (row(100 + other, other, start=True, key=100 + other), [floats("X", 31 * step + other)])
            for other in others[:crowd]
        ]
        rows.append((row(1, slot, start=step == 0, key=7), [floats("X", step)]))
        answers.append(bytes(bench.run(rows)[-1]["OUT"].tobytes()))
    return answers


def test_a_sequence_has_the_same_bits_whoever_shares_its_batches(tmp_path: Path) -> None:
    bench = recurrent(tmp_path, FIXED)
    undisturbed = run_sequence(bench, 0, [0] * 12)
    for slot, seed in ((0, 1), (3, 2), (15, 3)):
        crowds = np.random.default_rng(seed).integers(0, BUCKET, 12).tolist()
        assert run_sequence(bench, slot, crowds) == undisturbed
    assert {len(batch["H"]) for batch in bench.seen.batches} == {BUCKET}
    # What pads is no sequence's, and stays as it was.
    assert bench.arena.read(0)["H"].any()
    assert not bench.arena.gather([-1])["H"].any()


def test_controls_tell_what_is_padding() -> None:
    """The fake model refuses rows whose controls do not agree. Places stay what they are."""
    rules = SequenceBatching(DirectStrategy(), 4)
    config = fake_config(scheduling=rules, durability=FIXED)
    bench = Bench(config, FakeBackend().load(fake_context(config)))
    samples = Tensor("INPUT", DataType.INT16, (1, 2), raw=b"\1\0\2\0")
    null = Row(NO_REQUEST, SlotIndex(0), Generation(0))
    (answer,) = bench.run([(null, []), (row(1, 1, start=True, key=7), [samples])])
    batch = bench.seen.batches[-1]
    assert batch["INPUT"].tolist() == [[0, 0], [1, 2], [0, 0], [0, 0]]
    assert batch["READY"].ravel().tolist() == [0, 1, 0, 0]
    assert batch["CORRID"].ravel().tolist() == [0, 7, 0, 0]
    assert answer["COUNT"].ravel().tolist() == [1]


def test_a_full_step_and_a_model_without_batches_need_no_padding() -> None:
    config = stateless_config(durability=FIXED)
    bench = Bench(config, FakeBackend().load(fake_context(config)))
    samples = Tensor("INPUT", DataType.INT16, (4, 2), raw=bytes(16))
    bench.run([(row(1, rows=4), [samples])])
    assert bench.seen.batches[-1]["INPUT"].shape == (4, 2)
    config = stateless_config(max_batch_size=0, durability=FIXED)
    bench = Bench(config, FakeBackend().load(fake_context(config)))
    bench.run([(row(1), [Tensor("INPUT", DataType.INT16, (2,), raw=bytes(4))])])
    assert bench.seen.batches[-1]["INPUT"].shape == (2,)


def test_states_that_grow_are_padded_part_by_part(tmp_path: Path) -> None:
    growing = State(StateSpec("S0", "N0", DataType.FP32, (-1,)), np.zeros(1, np.float32), grows=0)
    config = replace(state_config([growing]), durability=FIXED)
    backend, files = build("onnx", tmp_path, [growing], config)
    session = backend.load(context(config, files))
    bench = Bench(config, session)
    one = Tensor("X", DataType.INT64, (1, 1), raw=(5).to_bytes(8, "little"))
    bench.run([(row(1, 0, start=True, key=1), [one])])
    answers = bench.run([(row(2, 0, key=1), [one]), (row(3, 1, start=True, key=2), [one])])
    assert [each["OUT0"].tolist() for each in answers] == [[[0, 5, 5]], [[0, 5]]]
    assert [batch["S0"].shape for batch in bench.seen.batches] == [(3, 1), (3, 2), (3, 1)]
