"""The protocol's descriptors under their public names, for server reflection.

They live in a pool of their own. The process-wide pool accepts each name once, and belongs to
whichever client of the protocol the user has imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

INFERENCE_SERVICE = "inference.GRPCInferenceService"
"""The full name by which clients call the service and reflection lists it."""


def canonical_files() -> FileDescriptorSet:
    """Every published file, each one after the files that it imports."""
    content = files("streamgate._proto").joinpath("canonical.binpb").read_bytes()
    return FileDescriptorSet.FromString(content)


def canonical_pool(others: Iterable[FileDescriptorProto] = ()) -> DescriptorPool:
    """A new private pool that holds `canonical_files`, then `others`.

    `others` are the files of further services on the same server, such as gRPC's health service,
    each one after the files that it imports.
    """
    pool = DescriptorPool()
    for file in (*canonical_files().file, *others):
        pool.AddSerializedFile(file.SerializeToString())
    return pool
