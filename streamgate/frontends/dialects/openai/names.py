"""Names that OpenAI's clients have built in."""

from typing import Final

STAND_INS: Final = ("gpt-", "whisper-")
"""How the names of OpenAI's own models begin: they mean whatever the server has."""
KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""How browsers, which can't send headers, offer their key: as a subprotocol."""
PROTOCOL: Final = "realtime"
"""The subprotocol that is answered to a client that offers it."""
