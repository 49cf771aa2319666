"""The link that records: which sequence a request is noted in, and when its bundle is whole."""

import logging
from pathlib import Path
from typing import Any

import pytest

from streamgate.core.ids import OwnerNumber
from streamgate.errors import Code, EndReason, Failure, StreamGateError
from streamgate.link.contract import UNSTARTED, ModelRoute
from streamgate.model.config import Ensemble, EnsembleStep
from streamgate.model.request import Request, SequenceKey
from streamgate.model.snapshot import Snapshot
from streamgate.model.tensor import Tensor
from streamgate.recording.bundle import Bundle, read_bundle
from streamgate.recording.options import RecordingOptions
from streamgate.recording.values import StoredTensor
from streamgate.recording.writer import BundleWriter
from streamgate.session.recorded import RecordedLink, RecordedMovableLink, Recorder
from streamgate.session.routing import Route
from streamgate.snapshot.codec import decode_snapshot
from tests.session.fake_link import FakeLink, FakeMovableLink, sequence_config
from tests.session.plain_models import config_of, spec, zeros


def no_route(name: str, version: str) -> ModelRoute:
    raise StreamGateError(Code.NOT_FOUND, name)


class House:
    """A recorded model on a link to no engine."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.link = FakeMovableLink()
        settings = RecordingOptions(folder, **options)
        self.writer = BundleWriter(settings)
        self.recorder = Recorder(settings, self.writer, "0.0", no_route)
        self.route = Route(self.recorder.front(self.link))
        self.ends: list[SequenceKey] = []

    def send(
        self, key: SequenceKey, *, start: bool = False, id: str = "", passed: bool = False
    ) -> None:
        request = Request("m", id=id, inputs=[zeros("I", 1, 4)], sequence=key, start=start)
        request.passed_recorder = passed
        self.route.submit(request, lambda response: None, OwnerNumber(1), None)

    def bundles(self) -> list[Bundle]:
        """In the order in which they began, by the ID of their first request."""
        self.writer.close(20.0)
        found = [read_bundle(path) for path in self.folder.iterdir()]
        return sorted(found, key=lambda bundle: bundle.steps[0].step.id)

    def told(self) -> list[tuple[list[str], str]]:
        """Of each bundle, the IDs of its requests and its end."""
        return [
            ([each.step.id for each in bundle.steps], bundle.reason or bundle.cut)
            for bundle in self.bundles()
        ]


def test_a_model_that_is_not_recorded_has_no_link_in_front(tmp_path: Path) -> None:
    house = House(tmp_path, models=("other",))
    assert house.route.link is house.link
    stateless = FakeLink(config_of(spec("I", 4)))
    assert House(tmp_path / "all").recorder.front(stateless) is stateless


def test_requests_are_noted_in_their_sequences(tmp_path: Path) -> None:
    house = House(tmp_path)
    for id, key, start in (("a0", 1, True), ("b0", 2, True), ("a1", 1, False), ("b1", 2, False)):
        house.send(key, start=start, id=id)
    for place in range(4):
        house.link.answer(place)
    house.link.on_end(2, EndReason.IDLE, 0)
    assert house.told() == [(["a0", "a1"], "the server stopped"), (["b0", "b1"], "idle")]


def test_a_start_that_waits_behind_a_live_sequence(tmp_path: Path) -> None:
    """Two tenancies of one ID: requests are the newest's, and ends are told by their places."""
    house = House(tmp_path)
    house.send(1, start=True, id="a0")
    house.send(1, start=True, id="b0")
    house.send(1, id="b1")
    house.send(1, start=True, id="c0")
    for place in range(4):
        house.link.answer(place)
    house.link.on_end(1, EndReason.CLIENT_ABORT, 1)
    house.link.on_end(1, EndReason.SUPERSEDED, 0)
    house.link.on_end(1, EndReason.CLIENT_END, 0)
    assert house.told() == [
        (["a0"], "superseded"),
        (["b0", "b1"], "client_abort"),
        (["c0"], "client_end"),
    ]


def test_a_start_that_is_refused(tmp_path: Path) -> None:
    """It is no sequence: the live one's places are as if it had not come."""
    house = House(tmp_path)
    house.send(1, start=True, id="a0")
    house.send(1, start=True, id="b0")
    house.link.refuse(1)
    house.send(1, id="a1")
    for place in (0, 2):
        house.link.answer(place)
    house.link.on_end(1, EndReason.IDLE, 0)
    assert house.told() == [(["a0", "a1"], "idle"), (["b0"], "refused")]


SNAPSHOT = Snapshot(4, "s")


def test_a_recording_ends_where_its_sequence_leaves(tmp_path: Path) -> None:
    house = House(tmp_path)
    for id, key in (("a0", 1), ("b0", 2), ("c0", 3)):
        house.send(key, start=True, id=id)
        house.link.answer(house.link.positions.index(0, len(house.link.positions) - 1))
    answers: list[object] = []
    house.route.hand_over(1, answers.append)
    house.link.handed_over[0][-1](SNAPSHOT)
    assert isinstance(house.route.link, RecordedMovableLink)
    house.route.link.watch_snapshots(lambda *told: answers.append(told))
    house.link.on_snapshot(2, SNAPSHOT, True)
    house.link.on_snapshot(3, SNAPSHOT, False)
    house.link.on_end(3, EndReason.IDLE, 0)
    assert answers == [SNAPSHOT, (2, SNAPSHOT, True), (3, SNAPSHOT, False)]
    why = "the sequence went on elsewhere"
    assert house.told() == [(["a0"], why), (["b0"], why), (["c0"], "idle")]


def test_what_comes_from_elsewhere_begins_with_its_state(tmp_path: Path) -> None:
    house = House(tmp_path)
    for answer in (Failure(Code.UNAVAILABLE, "no"), None):
        house.route.restore(1, OwnerNumber(1), None, SNAPSHOT, lambda failure: None)
        house.link.restored[-1][-1](answer)
    house.send(1, id="old")
    house.send(1, start=True, id="a0")
    assert house.link.positions == [5, 0]
    # Not even its first request takes it away when it is refused: it is no START.
    house.link.refuse(0)
    house.link.answer(1)
    house.link.on_end(1, EndReason.SUPERSEDED, 0)
    house.link.on_end(1, EndReason.IDLE, 0)
    house.writer.close(20.0)
    found = {bundle.reason: bundle for bundle in map(read_bundle, tmp_path.iterdir())}
    assert set(found) == {"superseded", "idle"}
    origin = found["superseded"].origin
    assert origin is not None
    assert origin.position == 4
    assert origin.snapshot is not None
    assert decode_snapshot(origin.snapshot) == SNAPSHOT
    assert [step.step.position for step in found["superseded"].steps] == [5]
    assert found["idle"].origin is None


def test_what_a_recorder_in_front_has_seen_is_left_to_it(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.send(1, start=True, id="a0", passed=True)
    house.send(1, id="a1", passed=True)
    house.route.restore(2, OwnerNumber(1), None, SNAPSHOT, lambda failure: None)
    house.link.restored[-1][-1](None)
    house.send(2, id="b5", passed=True)
    house.send(2, id="b6", passed=True)
    house.send(3, start=True, id="c0")
    for place in (0, 4):
        house.link.answer(place)
    for key in (1, 2, 3):
        house.link.on_end(key, EndReason.IDLE, 0)
    assert house.told() == [(["c0"], "idle")]


def test_what_comes_from_elsewhere_is_drawn_anew(tmp_path: Path) -> None:
    house = House(tmp_path, rate=0.0)
    house.route.restore(1, OwnerNumber(1), None, SNAPSHOT, lambda failure: None)
    house.link.restored[-1][-1](None)
    house.send(1, id="old")
    house.writer.close(20.0)
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_can_not_move_stays_one(tmp_path: Path) -> None:
    link = FakeLink()
    assert type(House(tmp_path).recorder.front(link)) is RecordedLink


def test_a_reservation_that_ends(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.route.reserve(1, OwnerNumber(1), None, lambda failure: None)
    house.link.reserved[0][2](None)
    house.send(1, start=True, id="a0")
    house.link.on_end(1, EndReason.IDLE, UNSTARTED)
    house.link.answer(0)
    house.link.on_end(1, EndReason.CLIENT_END, 0)
    assert house.told() == [(["a0"], "client_end")]


def test_a_bundle_is_whole_when_late_responses_have_come(tmp_path: Path) -> None:
    """A decoupled request may answer after its sequence has ended."""
    house = House(tmp_path)
    house.send(1, start=True)
    house.link.answer(0, final=False)
    house.link.on_end(1, EndReason.CLIENT_END, 0)
    house.link.answer(0, final=False)
    house.link.answer(0)
    (bundle,) = house.bundles()
    assert [result.final for result in bundle.steps[0].results] == [False, False, True]
    assert bundle.reason == "client_end"


def test_nothing_is_kept_of_sequences_that_are_over(tmp_path: Path) -> None:
    house = House(tmp_path, rate=0.0)
    for place, key in enumerate(range(1, 9)):
        house.send(key, start=True)
        house.link.answer(place)
        house.link.on_end(key, EndReason.CLIENT_END, 0)
    house.send(9, start=True)
    house.link.refuse(8)
    house.send(10)
    assert isinstance(house.route.link, RecordedLink)
    assert not house.route.link._live
    assert house.bundles() == []


def test_what_can_not_be_recorded_costs_the_recording_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    house.send(1, start=True)

    def broken(tensor: Tensor) -> StoredTensor:
        raise MemoryError("no room")

    with monkeypatch.context() as context, caplog.at_level(logging.ERROR):
        context.setattr(StoredTensor, "of", broken)
        house.send(1)
    assert "a request could not be recorded" in caplog.text
    house.send(1)
    assert house.link.positions == [0, 1, 2]
    for place in range(3):
        house.link.answer(place)
    house.link.on_end(1, EndReason.CLIENT_END, 0)
    (bundle,) = house.bundles()
    assert len(bundle.steps) == 1
    assert bundle.cut == "a request could not be recorded"


def test_a_sink_that_raises_is_recorded_all_the_same(tmp_path: Path) -> None:
    house = House(tmp_path)

    def raising(response: object) -> None:
        raise ValueError("in a front end")

    request = Request("m", inputs=[zeros("I", 1, 4)], sequence=1, start=True)
    house.route.submit(request, raising, OwnerNumber(1), None)
    with pytest.raises(ValueError, match="in a front end"):
        house.link.answer(0)
    house.link.on_end(1, EndReason.CLIENT_END, 0)
    (bundle,) = house.bundles()
    assert bundle.steps[0].is_complete
    assert bundle.reason == "client_end"


def test_everything_else_goes_straight_through(tmp_path: Path) -> None:
    house = House(tmp_path)
    link = house.route.link
    link.hang_up(OwnerNumber(3))
    link.touch(5)
    link.end_sequence(5, EndReason.CLIENT_END, drain=True)
    assert (house.link.hung_up, house.link.touched) == ([3], [5])
    assert house.link.ended == [(5, EndReason.CLIENT_END, True)]
    house.link.config = sequence_config(json="{}")
    house.route.renew_config()
    assert house.route.config.json == "{}"
    heard: list[SequenceKey] = []
    link.watch_sequences(lambda key, reason, place: heard.append(key), lambda key, seconds: None)
    house.link.on_end(7, EndReason.IDLE, 0)
    assert heard == [7]


def test_the_models_of_an_ensemble_are_named_once(tmp_path: Path) -> None:
    """Inner ensembles' too; one that went away is left out."""

    def steps(*names: str) -> Ensemble:
        return Ensemble(tuple(EnsembleStep(name, "", {}, {}) for name in names), 1)

    configs = {
        "inner": config_of(spec("I", 4), name="inner", scheduling=steps("leaf", "leaf")),
        "leaf": sequence_config(name="leaf", json="leaf's"),
    }

    def find(name: str, version: str) -> ModelRoute:
        if name not in configs:
            raise StreamGateError(Code.NOT_FOUND, name)
        return Route(FakeLink(configs[name], "3"))

    settings = RecordingOptions(tmp_path)
    writer = BundleWriter(settings)
    recorder = Recorder(settings, writer, "0.0", find)
    outer = config_of(spec("I", 4), scheduling=steps("inner", "gone", "leaf"))
    recording = recorder.begin(FakeLink(outer), Request("m", sequence=1, start=True))
    assert recording is not None
    writer.close(20.0)
    (path,) = tmp_path.iterdir()
    composing = read_bundle(path).header.composing
    assert sorted((each.name, each.version) for each in composing) == [
        ("inner", "3"),
        ("leaf", "3"),
    ]
