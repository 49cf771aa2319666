"""Riva's own client and Google's, on channels of the demo that comes back: each on a port of its
own. python comes_back.py RIVA_PORT V1_PORT V2_PORT WAV"""

import json
import sys
from pathlib import Path

import grpc
import riva.client
from google.cloud import speech_v1, speech_v2
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as TransportV1
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport as TransportV2

sys.path.insert(0, str(Path(__file__).parents[3] / "demos"))
from comes_back import ComesBack

RECOGNIZER = "projects/p/locations/global/recognizers/_"


def heard(responses):
    return " ".join(
        result.alternatives[0].transcript
        for response in responses
        for result in response.results
        if result.is_final
    )


def by_riva(port, file, back):
    auth = riva.client.Auth(uri=f"127.0.0.1:{port}")
    auth.channel = grpc.intercept_channel(auth.channel, back)
    config = riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(), interim_results=True
    )
    with riva.client.AudioChunkFileIterator(file, 320) as chunks:
        return heard(riva.client.ASRService(auth).streaming_response_generator(chunks, config))


def pieces(file, start):
    data = Path(file).read_bytes()[start:]
    return [data[at : at + 640] for at in range(0, len(data), 640)]


def by_v1(port, file, back):
    channel = grpc.intercept_channel(grpc.insecure_channel(f"127.0.0.1:{port}"), back)
    client = speech_v1.SpeechClient(transport=TransportV1(channel=channel))
    config = speech_v1.RecognitionConfig(
        encoding=speech_v1.RecognitionConfig.AudioEncoding.LINEAR16, sample_rate_hertz=16000
    )
    streaming = speech_v1.StreamingRecognitionConfig(config=config, interim_results=True)
    requests = (
        speech_v1.StreamingRecognizeRequest(audio_content=piece) for piece in pieces(file, 44)
    )
    return heard(client.streaming_recognize(streaming, requests))


def by_v2(port, file, back):
    channel = grpc.intercept_channel(grpc.insecure_channel(f"127.0.0.1:{port}"), back)
    client = speech_v2.SpeechClient(transport=TransportV2(channel=channel))
    streaming = speech_v2.StreamingRecognitionConfig(
        config=speech_v2.RecognitionConfig(
            auto_decoding_config=speech_v2.AutoDetectDecodingConfig()
        ),
        streaming_features=speech_v2.StreamingRecognitionFeatures(interim_results=True),
    )

    def requests():
        yield speech_v2.StreamingRecognizeRequest(recognizer=RECOGNIZER, streaming_config=streaming)
        for piece in pieces(file, 0):
            yield speech_v2.StreamingRecognizeRequest(audio=piece)

    return heard(client.streaming_recognize(requests=requests()))


def main(riva_port, v1_port, v2_port, file):
    said = {}
    for name, speak, port in (
        ("riva", by_riva, riva_port),
        ("v1", by_v1, v1_port),
        ("v2", by_v2, v2_port),
    ):
        returns = []
        text = speak(port, file, ComesBack(on_return=returns.append))
        said[name] = {"text": text, "returns": len(returns)}
    return said


print(json.dumps(main(*sys.argv[1:])))
