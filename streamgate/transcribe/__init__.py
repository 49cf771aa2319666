"""`streamgate transcribe` and `streamgate mic`: clients of a running server's speech dialects.

They know the dialects as any client does, by their wire alone, and import nothing of the server.

    file or microphone -> samples -> a dialect -> utterances -> text, JSON, SRT or WebVTT
"""
