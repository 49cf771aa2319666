"""Deepgram's streaming dialects: v1, `/v1/listen`, and Flux, `/v2/listen`.

`docs/dialects/deepgram.md` says what is served of them.
"""

from streamgate.frontends.dialects.deepgram.flux import DeepgramFlux
from streamgate.frontends.dialects.deepgram.listen import DeepgramListen

__all__ = ["DeepgramFlux", "DeepgramListen"]
