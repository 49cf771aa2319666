"""Riva's own client for translations: of texts, and of speech."""

import json
import sys

import riva.client


def main(port, file):
    auth = riva.client.Auth(uri=f"127.0.0.1:{port}")
    service = riva.client.NeuralMachineTranslationClient(auth)
    texts = service.translate(["one two", "three"], "", "en", "de")
    pairs = service.get_config("")
    config = riva.client.StreamingTranslateSpeechToTextConfig(
        asr_config=riva.client.StreamingRecognitionConfig(
            config=riva.client.RecognitionConfig(language_code="en-US"), interim_results=True
        ),
        translation_config=riva.client.TranslationConfig(
            source_language_code="en-US", target_language_code="de-DE"
        ),
    )
    finals, interims = [], []
    with riva.client.AudioChunkFileIterator(file, 1600) as chunks:
        for response in service.streaming_s2t_response_generator(chunks, config):
            for result in response.results:
                kept = finals if result.is_final else interims
                kept.append(result.alternatives[0].transcript)
    return {
        "texts": [each.text for each in texts.translations],
        "pairs": {
            name: [list(pair.src_lang), list(pair.tgt_lang)]
            for name, pair in pairs.languages.items()
        },
        "speech": " ".join(finals),
        "interims": interims,
    }


print(json.dumps(main(*sys.argv[1:])))
