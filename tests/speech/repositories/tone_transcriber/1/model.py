"""See config.pbtxt. Tones are multiples of 200 Hz from 400 to 3,000 Hz."""

import hashlib
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

RATE = 16000
FRAME = 320
FRAMES_MIN = 4
SILENCE_FRAMES = 40
WORDS = (Path(__file__).parent / "words.txt").read_text().split()


class Ear:
    def __init__(self):
        self.digest = b""
        self.frames = 0
        self.tone = 0
        self.length = 0
        self.quiet = SILENCE_FRAMES
        self.words = 0

    @classmethod
    def from_bytes(cls, data):
        ear = cls()
        vars(ear).update(json.loads(data))
        ear.digest = bytes.fromhex(ear.digest)
        return ear

    def to_bytes(self):
        return json.dumps(vars(self) | {"digest": self.digest.hex()}).encode()

    def hear(self, samples):
        """Yields (word, start, end) and (None, began, time)."""
        for at in range(0, len(samples), FRAME):
            tone = tone_of(samples[at : at + FRAME])
            self.frames += 1
            if tone and tone == self.tone:
                self.length += 1
                if self.length == FRAMES_MIN and self.quiet >= SILENCE_FRAMES:
                    yield None, True, (self.frames - FRAMES_MIN) * 0.02
                if self.length >= FRAMES_MIN:
                    self.quiet = 0
                continue
            if self.length >= FRAMES_MIN:
                yield self.finish()
            self.tone, self.length = tone, 1 if tone else 0
            if not tone:
                self.quiet += 1
                if self.quiet == SILENCE_FRAMES:
                    yield None, False, (self.frames - SILENCE_FRAMES) * 0.02

    def finish(self):
        end = (self.frames - 1) * 0.02
        word, self.digest = word_for(self.digest, self.tone)
        start = end - self.length * 0.02
        self.tone = self.length = 0
        return word, start, end

    @property
    def tail(self):
        return word_for(self.digest, self.tone)[0] if self.length >= FRAMES_MIN else ""


def name_of(correlation_id):
    """As the control CORRID has it."""
    return str(correlation_id).encode()


def tone_of(frame):
    if len(frame) < FRAME or np.sqrt(np.mean(frame * frame)) < 0.02:
        return 0
    spectrum = np.abs(np.fft.rfft(frame * np.hanning(FRAME)))
    return round(np.argmax(spectrum) * RATE / FRAME / 200) * 200


def word_for(digest, tone):
    digest = hashlib.sha256(digest + str(tone).encode()).digest()
    return WORDS[digest[0] % len(WORDS)], digest


class TritonPythonModel:
    def initialize(self, args):
        self.ears = {}

    def execute(self, requests):
        return [self.step(request) for request in requests]

    def on_sequence_end(self, correlation_id, reason):
        self.ears.pop(name_of(correlation_id), None)

    def get_state(self, correlation_id):
        return self.ears[name_of(correlation_id)].to_bytes()

    def set_state(self, correlation_id, state):
        self.ears[name_of(correlation_id)] = Ear.from_bytes(state)

    def step(self, request):
        def flag(name):
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            return tensor is not None and bool(tensor.as_numpy().ravel()[0])

        key = pb_utils.get_input_tensor_by_name(request, "CORRID").as_numpy().ravel()[0]
        samples = pb_utils.get_input_tensor_by_name(request, "AUDIO").as_numpy().ravel()
        if flag("START"):
            self.ears[key] = Ear()
        ear = self.ears[key]
        words, change, final = [], (0, -1.0), False
        for what, start, end in ear.hear(samples):
            if what is not None:
                words.append((what, start, end))
            else:
                change = (1 if start else 2, end)
                final = final or not start
        ends = flag("END") or flag("FLUSH")
        if ends and ear.length >= FRAMES_MIN:
            words.append(ear.finish())
        if ends:
            final = final or bool(ear.words or words)
            ear.quiet = SILENCE_FRAMES
        said = "".join(
            (" " if ear.words or place else "") + word for place, (word, *_) in enumerate(words)
        )
        ear.words += len(words)
        tail = "" if final else ear.tail
        if tail and ear.words:
            tail = " " + tail
        if final:
            ear.words = 0
        return pb_utils.InferenceResponse(
            [
                text("STABLE", [said]),
                text("TAIL", [tail]),
                pb_utils.Tensor("FINAL", np.array([[final]])),
                pb_utils.Tensor("AUDIO_PROCESSED", np.array([[ear.frames * 0.02]])),
                text("WORDS", [word for word, *_ in words]),
                pb_utils.Tensor(
                    "WORD_TIMES",
                    np.array([[times for _, *times in words]], np.float32).reshape(1, -1, 2),
                ),
                pb_utils.Tensor("WORD_CONFIDENCES", np.full((1, len(words)), 0.9, np.float32)),
                pb_utils.Tensor("SPEECH_EVENT", np.array([[change[0]]], np.int32)),
                pb_utils.Tensor("EVENT_TIME", np.array([[change[1]]], np.float32)),
            ]
        )


def text(name, words):
    array = np.array([[word.encode() for word in words]], dtype=np.object_).reshape(1, -1)
    return pb_utils.Tensor(name, array)
