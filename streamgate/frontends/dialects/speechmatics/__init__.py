"""Speechmatics' real-time dialect: `/v2`.

`docs/dialects/speechmatics.md` says what is served of it.
"""

from streamgate.frontends.dialects.speechmatics.recognition import Speechmatics

__all__ = ["Speechmatics"]
