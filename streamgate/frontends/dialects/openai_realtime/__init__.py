"""OpenAI Realtime, transcription sessions, as generally available: WebSocket `/v1/realtime`."""

from streamgate.frontends.dialects.openai_realtime.dialect import OpenAiRealtimeDialect

__all__ = ["OpenAiRealtimeDialect"]
