"""Building blocks for speech: audio for dialects, and what a speech model needs beside its graph.

Everything here is a value or a pure function of values: `state, answer = block.feed(state, x)`.
States are dataclasses of numbers, texts, tuples and arrays, and `states` packs them into bytes, so
a model that keeps them can be moved. Nothing knows an engine, a loop or a wire.
"""
