"""Ready-made models around the graph of a speech recogniser, for the Python backend.

A configuration names them, so that a model repository needs no code:

    backend: "python"
    parameters { key: "streamgate.python_class"
                 value { string_value: "streamgate.speech.models.features:FbankFeatures" } }

    AUDIO -> FbankFeatures -> the encoder, an ONNX model with implicit state
                                  -> CtcText or TransducerText -> STABLE, TAIL, FINAL, WORDS, ...

Joined by an ensemble they keep the speech contract. They are written as any `model.py` would be,
keep their streams as the packed states of `streamgate.speech`, and can be moved with them.
"""
