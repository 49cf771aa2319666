"""The generators of Riva's own client and Google's, which begin every call with the configuration,
in two calls of one stream. python config_again.py PORT WAV"""

import json
import sys
from concurrent.futures import Future
from pathlib import Path

import grpc
import riva.client
from google.cloud import speech_v1
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport

PIECE_BYTES = 640
HEARD_FIRST = 3


class Seen(grpc.StreamStreamClientInterceptor):
    """Adds metadata to a call, and sees what its answer begins with."""

    def __init__(self, **metadata):
        self._metadata = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        self.initial = Future()
        self.call = None

    def intercept_stream_stream(self, continuation, client_call_details, request_iterator):
        details = client_call_details
        metadata = [*(details.metadata or ()), *self._metadata]
        self.call = continuation(details._replace(metadata=metadata), request_iterator)
        self.initial.set_result(dict(self.call.initial_metadata()))
        return self.call


def by_riva(channel, chunks):
    auth = riva.client.Auth(uri="127.0.0.1:1")
    auth.channel = channel
    config = riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(
            encoding=riva.client.AudioEncoding.LINEAR_PCM,
            sample_rate_hertz=16000,
            # The order of a map's entries on the wire is anybody's.
            custom_configuration=dict.fromkeys("abcdefgh", "1"),
        ),
        interim_results=True,
    )
    return riva.client.ASRService(auth).streaming_response_generator(chunks, config)


def by_google(channel, chunks):
    client = speech_v1.SpeechClient(transport=SpeechGrpcTransport(channel=channel))
    config = speech_v1.RecognitionConfig(
        encoding=speech_v1.RecognitionConfig.AudioEncoding.LINEAR16, sample_rate_hertz=16000
    )
    streaming = speech_v1.StreamingRecognitionConfig(config=config, interim_results=True)
    requests = (speech_v1.StreamingRecognizeRequest(audio_content=chunk) for chunk in chunks)
    return client.streaming_recognize(streaming, requests)


def said(responses):
    finals = [
        result.alternatives[0].transcript
        for response in responses
        for result in response.results
        if result.is_final
    ]
    return {"messages": len(responses), "text": " ".join(finals)}


def in_two_calls(address, speak, chunks):
    """Leaves in the middle, and goes on with what had not come."""
    first = Seen(streamgate_resume_seconds="60")
    left = Future()

    def half():
        yield from chunks[: len(chunks) // 2]
        left.result()  # the call is not closed in good order

    heard = []
    with grpc.insecure_channel(address) as channel:
        for response in speak(grpc.intercept_channel(channel, first), half()):
            heard.append(response)
            if len(heard) == HEARD_FIRST:
                break
        first.call.cancel()
        left.set_result(None)

    second = Seen(
        streamgate_resume=first.initial.result()["streamgate-resume"],
        streamgate_last_event=str(len(heard)),
    )
    received = Future()

    def rest():
        # The first request was the configuration.
        received.set_result(int(second.initial.result()["streamgate-received"]))
        yield from chunks[received.result() - 1 :]

    with grpc.insecure_channel(address) as channel:
        heard += speak(grpc.intercept_channel(channel, second), rest())
    return {**said(heard), "received": received.result()}


def in_one_call(address, speak, chunks):
    with grpc.insecure_channel(address) as channel:
        return said(list(speak(channel, chunks)))


def main(port, file):
    address = f"127.0.0.1:{port}"
    data = Path(file).read_bytes()[44:]
    chunks = [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]
    return {
        name: [in_one_call(address, speak, chunks), in_two_calls(address, speak, chunks)]
        for name, speak in (("riva", by_riva), ("google", by_google))
    }


print(json.dumps(main(*sys.argv[1:])))
