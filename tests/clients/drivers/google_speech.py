"""Google's own clients, v1 and v2, on a server without TLS."""

import json
import sys
from pathlib import Path

import grpc
from google.api_core import exceptions
from google.cloud import speech_v1, speech_v2
from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as TransportV1
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport as TransportV2

RECOGNIZER = "projects/p/locations/global/recognizers/_"


def pieces(data):
    return [data[at : at + 3200] for at in range(0, len(data), 3200)]


def heard(responses):
    """What a stream said: finals, whether each message was in order, offsets, events, billing."""
    finals, events, interims, words = [], [], 0, []
    end = billed = 0.0
    for response in responses:
        if response.speech_event_type:
            events.append(response.speech_event_type.name)
        for result in response.results:
            if not result.is_final:
                interims += 1
                continue
            finals.append(result.alternatives[0].transcript)
            offset = getattr(result, "result_end_time", None) or result.result_end_offset
            end = offset.total_seconds()
            for word in result.alternatives[0].words:
                start = getattr(word, "start_time", None)
                words.append((word.start_offset if start is None else start).total_seconds())
        if "metadata" in type(response).meta.fields:
            total = response.metadata.total_billed_duration
        else:
            total = response.total_billed_time
        billed = total.total_seconds() if total else billed
    return {
        "text": " ".join(finals),
        "interims": interims,
        "events": events,
        "end": end,
        "starts": words,
        "billed": billed,
    }


def v1(channel, samples):
    client = speech_v1.SpeechClient(transport=TransportV1(channel=channel))
    config = speech_v1.RecognitionConfig(
        encoding=speech_v1.RecognitionConfig.AudioEncoding.LINEAR16,
        sample_rate_hertz=16000,
        language_code="en-US",
        model="latest_long",
        enable_word_time_offsets=True,
    )
    streaming = speech_v1.StreamingRecognitionConfig(
        config=config, interim_results=True, enable_voice_activity_events=True
    )
    requests = (
        speech_v1.StreamingRecognizeRequest(audio_content=piece) for piece in pieces(samples)
    )
    stream = heard(client.streaming_recognize(streaming, requests))
    whole = client.recognize(config=config, audio=speech_v1.RecognitionAudio(content=samples))
    text = " ".join(result.alternatives[0].transcript for result in whole.results)
    return {"stream": stream, "whole": text}


def v2(channel, wav):
    client = speech_v2.SpeechClient(transport=TransportV2(channel=channel))
    config = speech_v2.RecognitionConfig(
        auto_decoding_config=speech_v2.AutoDetectDecodingConfig(),
        language_codes=["en-US"],
        model="long",
        features=speech_v2.RecognitionFeatures(enable_word_time_offsets=True),
    )
    streaming = speech_v2.StreamingRecognitionConfig(
        config=config,
        streaming_features=speech_v2.StreamingRecognitionFeatures(
            interim_results=True, enable_voice_activity_events=True
        ),
    )

    def requests():
        yield speech_v2.StreamingRecognizeRequest(recognizer=RECOGNIZER, streaming_config=streaming)
        for piece in pieces(wav):
            yield speech_v2.StreamingRecognizeRequest(audio=piece)

    stream = heard(client.streaming_recognize(requests=requests()))
    whole = client.recognize(
        request=speech_v2.RecognizeRequest(recognizer=RECOGNIZER, config=config, content=wav)
    )
    text = " ".join(result.alternatives[0].transcript for result in whole.results)
    return {"stream": stream, "whole": text}


def main(port, file):
    wav = Path(file).read_bytes()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            return {"v1": v1(channel, wav[44:]), "v2": v2(channel, wav)}
        except exceptions.GoogleAPICallError as error:
            return {"refused": type(error).__name__, "details": error.message}


print(json.dumps(main(*sys.argv[1:])))
