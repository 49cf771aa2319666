"""StreamGate's own speech dialect, at `/v1/speech`: all that a speech model says, and translations.

`docs/dialects/streamgate.md` is its description for client authors.
"""

from streamgate.frontends.dialects.native.dialect import NativeDialect
from streamgate.frontends.dialects.native.service import NativeService

__all__ = ["NativeDialect", "NativeService"]
