"""NVIDIA's realtime speech API: a session by `POST /v1/realtime/transcription_sessions`, then
WebSocket `/v1/realtime`, the path of OpenAI's dialect, which is another one."""

from streamgate.frontends.dialects.riva_realtime.dialect import RivaRealtimeDialect
from streamgate.frontends.dialects.riva_realtime.service import RivaSessionService

__all__ = ["RivaRealtimeDialect", "RivaSessionService"]
