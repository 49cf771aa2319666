"""OpenAI's transcription of files: `POST /v1/audio/transcriptions`, and what belongs to it."""

from streamgate.frontends.dialects.openai_audio.service import AudioService

__all__ = ["AudioService"]
