"""Our gRPC messages beside the clients' own, in one process: python grpc_messages.py ROOT

Prints what is wrong: fields and methods of ours that the clients' have otherwise or not at all.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])

from google.cloud.speech_v1.services.speech.transports import SpeechGrpcTransport as SpeechV1
from google.cloud.speech_v1.types import cloud_speech as google_v1
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport as SpeechV2
from google.cloud.speech_v2.types import cloud_speech as google_v2
from riva.client.proto import riva_asr_pb2, riva_audio_pb2, riva_common_pb2, riva_nmt_pb2

from streamgate._proto import google_speech_v1_pb2, google_speech_v2_pb2
from streamgate._proto import riva_asr_pb2 as our_asr
from streamgate._proto import riva_audio_pb2 as our_audio
from streamgate._proto import riva_common_pb2 as our_common
from streamgate._proto import riva_nmt_pb2 as our_nmt

PREFIX = "streamgate.wire."
RIVA = ((our_asr, riva_asr_pb2), (our_audio, riva_audio_pb2), (our_common, riva_common_pb2))
RIVA += ((our_nmt, riva_nmt_pb2),)
GOOGLE = ((google_speech_v1_pb2, google_v1), (google_speech_v2_pb2, google_v2))


def messages(file):
    """A file's messages by name, nested ones included."""
    found = {}
    for each in file.message_types_by_name.values():
        found[each.full_name.removeprefix(PREFIX)] = each
        found.update(messages_of(each))
    return found


def messages_of(message):
    found = {}
    for each in message.nested_types:
        found[each.full_name.removeprefix(PREFIX)] = each
        found.update(messages_of(each))
    return found


def described(field):
    referred = field.message_type or field.enum_type
    return [
        field.name,
        field.number,
        field.type,
        field.is_repeated,
        referred.full_name.removeprefix(PREFIX) if referred else None,
        field.containing_oneof.name if field.containing_oneof else None,
    ]


def enums(file):
    """A file's enumerations by name, those inside of messages included."""
    inside = [enum for message in messages(file).values() for enum in message.enum_types]
    every = [*file.enum_types_by_name.values(), *inside]
    return {each.full_name.removeprefix(PREFIX): each for each in every}


def file_of(module):
    """The descriptor of generated messages, or of those that a wrapper of Google's hides."""
    if hasattr(module, "DESCRIPTOR"):
        return module.DESCRIPTOR
    return module.RecognitionConfig.pb().DESCRIPTOR.file


def compare(ours, theirs):
    wrong, count = [], 0
    known = messages(file_of(theirs))
    for name, message in messages(file_of(ours)).items():
        for field in message.fields:
            count += 1
            other = known[name].fields_by_number.get(field.number) if name in known else None
            if other is None or described(field) != described(other):
                wrong.append(f"{name}.{field.name}")
    known = enums(file_of(theirs))
    for name, enum in enums(file_of(ours)).items():
        numbers = {value.name: value.number for value in enum.values}
        other = known[name].values if name in known else ()
        if numbers != {value.name: value.number for value in other}:
            wrong.append(name)
    return wrong, count


def main():
    wrong, count = [], 0
    for ours, theirs in RIVA + GOOGLE:
        found, compared = compare(ours, theirs)
        wrong += found
        count += compared
    for ours, theirs in ((our_asr, riva_asr_pb2), (our_nmt, riva_nmt_pb2)):
        for name, service in ours.DESCRIPTOR.services_by_name.items():
            for method in service.methods:
                other = theirs.DESCRIPTOR.services_by_name[name].methods_by_name.get(method.name)
                shape = (method.client_streaming, method.server_streaming)
                if other is None or shape != (other.client_streaming, other.server_streaming):
                    wrong.append(f"{name}/{method.name}")
    for ours, transport in ((google_speech_v1_pb2, SpeechV1), (google_speech_v2_pb2, SpeechV2)):
        for method in ours.DESCRIPTOR.services_by_name["Speech"].methods:
            if not hasattr(
                transport,
                "".join(
                    f"_{letter.lower()}" if letter.isupper() else letter for letter in method.name
                ).lstrip("_"),
            ):
                wrong.append(f"Speech/{method.name}")
    return {"wrong": wrong, "compared": count}


print(json.dumps(main()))
