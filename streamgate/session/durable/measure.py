"""What a step counts in its log, and what equal results have in common."""

from collections.abc import Sequence
from hashlib import blake2b

from streamgate.model.request import Response
from streamgate.model.tensor import Tensor
from streamgate.session.durable.log import STEP_BYTES


def size_of(inputs: Sequence[Tensor]) -> int:
    """What a step with these inputs counts in its log."""
    size = STEP_BYTES
    for tensor in inputs:
        size += tensor.size_bytes
    return size


def digest_of(response: Response) -> bytes:
    """What two equal results have in common, bit by bit."""
    digest = blake2b(digest_size=16)
    for tensor in response.outputs:
        digest.update(f"{tensor.name} {tensor.datatype.value} {tensor.shape}".encode())
        digest.update(tensor.raw)
    if response.failure is not None:
        digest.update(response.failure.code.value.encode())
    return digest.digest()
