"""What OpenAI's dialects share: their errors, their keys, the names of their models, their text."""
