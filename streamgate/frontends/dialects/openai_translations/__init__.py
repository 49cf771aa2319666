"""OpenAI Realtime translations: WebSocket `/v1/realtime/translations`."""

from streamgate.frontends.dialects.openai_translations.dialect import OpenAiTranslationsDialect

__all__ = ["OpenAiTranslationsDialect"]
