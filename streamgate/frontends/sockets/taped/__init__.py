"""Sessions that go on in another process: what a conversation was told is kept in the session
store, in order, and told again there.

`Tape` writes, and is the conversation's world; `replayed` makes the conversation again;
`TapedSessions` begins both. See `docs/session-store.md`.
"""
