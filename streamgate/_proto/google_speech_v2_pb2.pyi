from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecognizeRequest(_message.Message):
    __slots__ = ("config", "recognizer", "content", "uri")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    RECOGNIZER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    config: RecognitionConfig
    recognizer: str
    content: bytes
    uri: str
    def __init__(self, config: _Optional[_Union[RecognitionConfig, _Mapping]] = ..., recognizer: _Optional[str] = ..., content: _Optional[bytes] = ..., uri: _Optional[str] = ...) -> None: ...

class StreamingRecognizeRequest(_message.Message):
    __slots__ = ("recognizer", "audio", "streaming_config")
    RECOGNIZER_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    STREAMING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    recognizer: str
    audio: bytes
    streaming_config: StreamingRecognitionConfig
    def __init__(self, recognizer: _Optional[str] = ..., audio: _Optional[bytes] = ..., streaming_config: _Optional[_Union[StreamingRecognitionConfig, _Mapping]] = ...) -> None: ...

class StreamingRecognitionConfig(_message.Message):
    __slots__ = ("config", "streaming_features")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    STREAMING_FEATURES_FIELD_NUMBER: _ClassVar[int]
    config: RecognitionConfig
    streaming_features: StreamingRecognitionFeatures
    def __init__(self, config: _Optional[_Union[RecognitionConfig, _Mapping]] = ..., streaming_features: _Optional[_Union[StreamingRecognitionFeatures, _Mapping]] = ...) -> None: ...

class StreamingRecognitionFeatures(_message.Message):
    __slots__ = ("enable_voice_activity_events", "interim_results", "voice_activity_timeout")
    class VoiceActivityTimeout(_message.Message):
        __slots__ = ("speech_start_timeout", "speech_end_timeout")
        SPEECH_START_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
        SPEECH_END_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
        speech_start_timeout: _duration_pb2.Duration
        speech_end_timeout: _duration_pb2.Duration
        def __init__(self, speech_start_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., speech_end_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    ENABLE_VOICE_ACTIVITY_EVENTS_FIELD_NUMBER: _ClassVar[int]
    INTERIM_RESULTS_FIELD_NUMBER: _ClassVar[int]
    VOICE_ACTIVITY_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    enable_voice_activity_events: bool
    interim_results: bool
    voice_activity_timeout: StreamingRecognitionFeatures.VoiceActivityTimeout
    def __init__(self, enable_voice_activity_events: bool = ..., interim_results: bool = ..., voice_activity_timeout: _Optional[_Union[StreamingRecognitionFeatures.VoiceActivityTimeout, _Mapping]] = ...) -> None: ...

class RecognitionConfig(_message.Message):
    __slots__ = ("features", "auto_decoding_config", "explicit_decoding_config", "model", "language_codes", "translation_config")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    AUTO_DECODING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    EXPLICIT_DECODING_CONFIG_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_CODES_FIELD_NUMBER: _ClassVar[int]
    TRANSLATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    features: RecognitionFeatures
    auto_decoding_config: AutoDetectDecodingConfig
    explicit_decoding_config: ExplicitDecodingConfig
    model: str
    language_codes: _containers.RepeatedScalarFieldContainer[str]
    translation_config: TranslationConfig
    def __init__(self, features: _Optional[_Union[RecognitionFeatures, _Mapping]] = ..., auto_decoding_config: _Optional[_Union[AutoDetectDecodingConfig, _Mapping]] = ..., explicit_decoding_config: _Optional[_Union[ExplicitDecodingConfig, _Mapping]] = ..., model: _Optional[str] = ..., language_codes: _Optional[_Iterable[str]] = ..., translation_config: _Optional[_Union[TranslationConfig, _Mapping]] = ...) -> None: ...

class AutoDetectDecodingConfig(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExplicitDecodingConfig(_message.Message):
    __slots__ = ("encoding", "sample_rate_hertz", "audio_channel_count")
    class AudioEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        AUDIO_ENCODING_UNSPECIFIED: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        LINEAR16: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        MULAW: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        ALAW: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        AMR: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        AMR_WB: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        FLAC: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        MP3: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        OGG_OPUS: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        WEBM_OPUS: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        MP4_AAC: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        M4A_AAC: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
        MOV_AAC: _ClassVar[ExplicitDecodingConfig.AudioEncoding]
    AUDIO_ENCODING_UNSPECIFIED: ExplicitDecodingConfig.AudioEncoding
    LINEAR16: ExplicitDecodingConfig.AudioEncoding
    MULAW: ExplicitDecodingConfig.AudioEncoding
    ALAW: ExplicitDecodingConfig.AudioEncoding
    AMR: ExplicitDecodingConfig.AudioEncoding
    AMR_WB: ExplicitDecodingConfig.AudioEncoding
    FLAC: ExplicitDecodingConfig.AudioEncoding
    MP3: ExplicitDecodingConfig.AudioEncoding
    OGG_OPUS: ExplicitDecodingConfig.AudioEncoding
    WEBM_OPUS: ExplicitDecodingConfig.AudioEncoding
    MP4_AAC: ExplicitDecodingConfig.AudioEncoding
    M4A_AAC: ExplicitDecodingConfig.AudioEncoding
    MOV_AAC: ExplicitDecodingConfig.AudioEncoding
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HERTZ_FIELD_NUMBER: _ClassVar[int]
    AUDIO_CHANNEL_COUNT_FIELD_NUMBER: _ClassVar[int]
    encoding: ExplicitDecodingConfig.AudioEncoding
    sample_rate_hertz: int
    audio_channel_count: int
    def __init__(self, encoding: _Optional[_Union[ExplicitDecodingConfig.AudioEncoding, str]] = ..., sample_rate_hertz: _Optional[int] = ..., audio_channel_count: _Optional[int] = ...) -> None: ...

class RecognitionFeatures(_message.Message):
    __slots__ = ("profanity_filter", "enable_word_time_offsets", "enable_word_confidence", "enable_automatic_punctuation", "max_alternatives", "multi_channel_mode")
    class MultiChannelMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MULTI_CHANNEL_MODE_UNSPECIFIED: _ClassVar[RecognitionFeatures.MultiChannelMode]
        SEPARATE_RECOGNITION_PER_CHANNEL: _ClassVar[RecognitionFeatures.MultiChannelMode]
    MULTI_CHANNEL_MODE_UNSPECIFIED: RecognitionFeatures.MultiChannelMode
    SEPARATE_RECOGNITION_PER_CHANNEL: RecognitionFeatures.MultiChannelMode
    PROFANITY_FILTER_FIELD_NUMBER: _ClassVar[int]
    ENABLE_WORD_TIME_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    ENABLE_WORD_CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ENABLE_AUTOMATIC_PUNCTUATION_FIELD_NUMBER: _ClassVar[int]
    MAX_ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    MULTI_CHANNEL_MODE_FIELD_NUMBER: _ClassVar[int]
    profanity_filter: bool
    enable_word_time_offsets: bool
    enable_word_confidence: bool
    enable_automatic_punctuation: bool
    max_alternatives: int
    multi_channel_mode: RecognitionFeatures.MultiChannelMode
    def __init__(self, profanity_filter: bool = ..., enable_word_time_offsets: bool = ..., enable_word_confidence: bool = ..., enable_automatic_punctuation: bool = ..., max_alternatives: _Optional[int] = ..., multi_channel_mode: _Optional[_Union[RecognitionFeatures.MultiChannelMode, str]] = ...) -> None: ...

class TranslationConfig(_message.Message):
    __slots__ = ("target_language",)
    TARGET_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    target_language: str
    def __init__(self, target_language: _Optional[str] = ...) -> None: ...

class RecognitionResponseMetadata(_message.Message):
    __slots__ = ("total_billed_duration", "request_id")
    TOTAL_BILLED_DURATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    total_billed_duration: _duration_pb2.Duration
    request_id: str
    def __init__(self, total_billed_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class RecognizeResponse(_message.Message):
    __slots__ = ("metadata", "results")
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    metadata: RecognitionResponseMetadata
    results: _containers.RepeatedCompositeFieldContainer[SpeechRecognitionResult]
    def __init__(self, metadata: _Optional[_Union[RecognitionResponseMetadata, _Mapping]] = ..., results: _Optional[_Iterable[_Union[SpeechRecognitionResult, _Mapping]]] = ...) -> None: ...

class SpeechRecognitionResult(_message.Message):
    __slots__ = ("alternatives", "channel_tag", "result_end_offset", "language_code")
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_TAG_FIELD_NUMBER: _ClassVar[int]
    RESULT_END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_CODE_FIELD_NUMBER: _ClassVar[int]
    alternatives: _containers.RepeatedCompositeFieldContainer[SpeechRecognitionAlternative]
    channel_tag: int
    result_end_offset: _duration_pb2.Duration
    language_code: str
    def __init__(self, alternatives: _Optional[_Iterable[_Union[SpeechRecognitionAlternative, _Mapping]]] = ..., channel_tag: _Optional[int] = ..., result_end_offset: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., language_code: _Optional[str] = ...) -> None: ...

class StreamingRecognizeResponse(_message.Message):
    __slots__ = ("speech_event_type", "metadata", "results", "speech_event_offset")
    class SpeechEventType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SPEECH_EVENT_TYPE_UNSPECIFIED: _ClassVar[StreamingRecognizeResponse.SpeechEventType]
        END_OF_SINGLE_UTTERANCE: _ClassVar[StreamingRecognizeResponse.SpeechEventType]
        SPEECH_ACTIVITY_BEGIN: _ClassVar[StreamingRecognizeResponse.SpeechEventType]
        SPEECH_ACTIVITY_END: _ClassVar[StreamingRecognizeResponse.SpeechEventType]
    SPEECH_EVENT_TYPE_UNSPECIFIED: StreamingRecognizeResponse.SpeechEventType
    END_OF_SINGLE_UTTERANCE: StreamingRecognizeResponse.SpeechEventType
    SPEECH_ACTIVITY_BEGIN: StreamingRecognizeResponse.SpeechEventType
    SPEECH_ACTIVITY_END: StreamingRecognizeResponse.SpeechEventType
    SPEECH_EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    SPEECH_EVENT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    speech_event_type: StreamingRecognizeResponse.SpeechEventType
    metadata: RecognitionResponseMetadata
    results: _containers.RepeatedCompositeFieldContainer[StreamingRecognitionResult]
    speech_event_offset: _duration_pb2.Duration
    def __init__(self, speech_event_type: _Optional[_Union[StreamingRecognizeResponse.SpeechEventType, str]] = ..., metadata: _Optional[_Union[RecognitionResponseMetadata, _Mapping]] = ..., results: _Optional[_Iterable[_Union[StreamingRecognitionResult, _Mapping]]] = ..., speech_event_offset: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StreamingRecognitionResult(_message.Message):
    __slots__ = ("alternatives", "is_final", "stability", "result_end_offset", "channel_tag", "language_code")
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    IS_FINAL_FIELD_NUMBER: _ClassVar[int]
    STABILITY_FIELD_NUMBER: _ClassVar[int]
    RESULT_END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_TAG_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_CODE_FIELD_NUMBER: _ClassVar[int]
    alternatives: _containers.RepeatedCompositeFieldContainer[SpeechRecognitionAlternative]
    is_final: bool
    stability: float
    result_end_offset: _duration_pb2.Duration
    channel_tag: int
    language_code: str
    def __init__(self, alternatives: _Optional[_Iterable[_Union[SpeechRecognitionAlternative, _Mapping]]] = ..., is_final: bool = ..., stability: _Optional[float] = ..., result_end_offset: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., channel_tag: _Optional[int] = ..., language_code: _Optional[str] = ...) -> None: ...

class SpeechRecognitionAlternative(_message.Message):
    __slots__ = ("transcript", "confidence", "words")
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    transcript: str
    confidence: float
    words: _containers.RepeatedCompositeFieldContainer[WordInfo]
    def __init__(self, transcript: _Optional[str] = ..., confidence: _Optional[float] = ..., words: _Optional[_Iterable[_Union[WordInfo, _Mapping]]] = ...) -> None: ...

class WordInfo(_message.Message):
    __slots__ = ("start_offset", "end_offset", "word", "confidence")
    START_OFFSET_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    WORD_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    start_offset: _duration_pb2.Duration
    end_offset: _duration_pb2.Duration
    word: str
    confidence: float
    def __init__(self, start_offset: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., end_offset: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., word: _Optional[str] = ..., confidence: _Optional[float] = ...) -> None: ...
