"""Riva's own client: a WAV file as `transcribe_file.py` streams it, raw samples, and as a whole."""

import json
import sys
from pathlib import Path

import grpc
import riva.client
import riva.client.proto.riva_asr_pb2 as rasr


def transcript(responses):
    """(final text, interim texts, the last result) of a stream."""
    finals, interims, last = [], [], None
    for response in responses:
        for result in response.results:
            if result.is_final:
                finals.append(result.alternatives[0].transcript)
                last = result
            else:
                interims.append(result.alternatives[0].transcript)
    return " ".join(finals), interims, last


def streaming_config(**config):
    return riva.client.StreamingRecognitionConfig(
        config=riva.client.RecognitionConfig(**config), interim_results=True
    )


def main(port, key, file):
    metadata = [["authorization", f"Bearer {key}"]] if key else None
    auth = riva.client.Auth(uri=f"127.0.0.1:{port}", metadata_args=metadata)
    service = riva.client.ASRService(auth)
    try:
        config = streaming_config(
            language_code="",
            max_alternatives=1,
            enable_word_time_offsets=True,
            enable_automatic_punctuation=True,
        )
        with riva.client.AudioChunkFileIterator(file, 1600) as chunks:
            text, interims, last = transcript(service.streaming_response_generator(chunks, config))
        whole = Path(file).read_bytes()
        raw = streaming_config(
            encoding=riva.client.AudioEncoding.LINEAR_PCM,
            sample_rate_hertz=16000,
            language_code="en-US",
            audio_channel_count=1,
        )
        samples = whole[44:]
        pieces = [samples[at : at + 3200] for at in range(0, len(samples), 3200)]
        raw_text, _, _ = transcript(service.streaming_response_generator(pieces, raw))
        offline = service.offline_recognize(whole, riva.client.RecognitionConfig())
        models = service.stub.GetRivaSpeechRecognitionConfig(
            rasr.RivaSpeechRecognitionConfigRequest(), metadata=auth.get_auth_metadata()
        )
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        return {
            "refused": error.code().name,
            "details": error.details(),
            "retry": trailers.get("retry-after"),
        }
    return {
        "text": text,
        "interims": interims,
        "starts": [word.start_time for word in last.alternatives[0].words],
        "audio_processed": last.audio_processed,
        "raw": raw_text,
        "offline": " ".join(each.alternatives[0].transcript for each in offline.results),
        "models": {
            each.model_name: each.parameters["language_code"]
            for each in models.model_config
            if each.parameters["type"] == "online"
        },
    }


print(json.dumps(main(*sys.argv[1:])))
