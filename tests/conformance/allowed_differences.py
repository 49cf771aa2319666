"""Where StreamGate answers otherwise than Triton 2.51, on purpose, and why.

The only place for such exceptions. Each entry says what we promise instead; an entry that covers
no difference of the cases it names is reported as stale. What we have yet to mend is no
difference of this kind: it stands in open_defects.py.
"""

from __future__ import annotations

from typing import Final

from tests.conformance.compare import AllowedDifference

ORDER: Final = "Triton lists inputs in the order of a hash table; we keep the request's order"
PYBIND: Final = "Triton shows its C++ binding's signature; we say what was wrong and expected"
IDLE: Final = (
    "Triton's idle clock runs while a step executes and ends a busy sequence; ours does not"
)
ID_REUSE: Final = (
    "Triton may run a new sequence before the queued END of the old one with the same id, and "
    "mixes them up; we run them one after the other"
)
BATCH: Final = "Triton misreads batch dimensions of 0 and below; we refuse them by name"
SHARED_MEMORY: Final = "client shared memory is off unless asked for, as in Triton from 26.x on"
REFUSED: Final = r'501|"UNIMPLEMENTED"|"Client shared memory is disabled\..*'
GENERATE_STATUS: Final = "Triton sends 200 before it knows of the error; we answer with its status"
GENERATE_CODE: Final = (
    "Triton 2.51 turns every model error into 400; we map the code, as it now does"
)

PAGE: Final = "Triton has nothing at the root; we have a page to try the models with"

ALLOWED: Final[tuple[AllowedDifference, ...]] = (
    AllowedDifference("http_unmatched_paths", "0/body/error", PAGE, r'"<absent>"'),
    AllowedDifference(
        "http_unmatched_paths", "0/body/text", PAGE, r'"<!doctype html>.*StreamGate.*'
    ),
    AllowedDifference("http_unmatched_paths", "0/content_type", PAGE, r'"text/html.*'),
    AllowedDifference("http_unmatched_paths", "0/status", PAGE, r"200"),
    AllowedDifference("extra_input_*", "0/message", ORDER, r".*'INPUT0','INPUT1','INPUT2'.*"),
    AllowedDifference(
        "sequence_client_sends_control_*", "0/message", ORDER, r".*'INPUT','START'.*"
    ),
    AllowedDifference(
        "batch_sizes_differ_*",
        "0/message",
        ORDER,
        r".*input 'INPUT1' batch size does not match other inputs for 'add_sub'.*",
    ),
    AllowedDifference(
        "wrong_shape_*", "1/message", ORDER, r".*input 'INPUT1' batch size does not match.*"
    ),
    AllowedDifference(
        "model_tensor_from_list",
        "*/message",
        PYBIND,
        r".*TypeError: Tensor 'OUTPUT': expected a numpy array, found <class 'list'>.*",
    ),
    AllowedDifference(
        "model_error_from_text",
        "*/message",
        PYBIND,
        r".*TypeError: InferenceResponse: error must be a TritonError, found <class 'str'>.*",
    ),
    AllowedDifference(
        "model_sender_final_apart",
        "2/0/parameters/triton_final_response/bool_param",
        "a model that is not decoupled answers once: that answer is the final one",
        "true",
    ),
    AllowedDifference(
        "bls_many_twice",
        "0/outputs/0/data/0",
        "Triton's iterators keep every response for a second round; ours keep none that was read",
        r'.*, \[\]\]\]"',
    ),
    AllowedDifference(
        "sequence_string_id_on_number_control",
        "[01]",
        "Triton 2.51 gives the model the bits of a pointer; we refuse, as Triton from 25.01 on",
        r".*control 'CORRID' data-type is 'BYTES', but model '.*' expects 'UINT64'.*",
    ),
    AllowedDifference("sequence_long_step_is_not_idle", "2", IDLE, r'.*"data": \[2\].*"OK".*'),
    AllowedDifference("sequence_long_step_is_not_idle", "3", IDLE, r'.*"data": \[3\].*"OK".*'),
    *(
        AllowedDifference(
            "sequence_end_then_start_pipelined",
            f"0/{index}{place}",
            ID_REUSE,
            rf'{total}|.*"data": \[{total}\].*',
            by_chance=True,
        )
        for index, total in enumerate((1, 1, 3, 6, 10, 30))
        for place in ("", "/outputs/0/data/0")
    ),
    AllowedDifference(
        "sequence_survives_stream",
        "[12]",
        "Triton keeps the slots of a client that is gone until they have been idle for long; we "
        "end the sequences of a cancelled stream at once",
        r".*inference request for sequence 123 to model 'sequence_flags' must specify the START.*",
    ),
    AllowedDifference(
        "sequence_cancelled_in_the_middle",
        "[34]",
        "Triton cancels all that is queued behind a cancelled step, and forgets the sequence; only "
        "the cancelled step is left out here",
        r'.*"data": \[(8|17)\].*"OK".*',
    ),
    AllowedDifference(
        "controls_short_text_id",
        "[01]",
        "Triton 2.51 can only hand text of 128 bytes to a model; later ones, and we, any text",
        r".*CORRID object \[b'short'\].*",
    ),
    AllowedDifference(
        "controls_number_id",
        "0/message",
        "Triton 2.51 reads the number as text; we refuse in the words of Triton from 25.01 on",
        r".*control 'CORRID' data-type is 'UINT64', but model '.*' expects 'BYTES'.*",
    ),
    AllowedDifference(
        "model_error_counted",
        "0/grown/*",
        "Triton counts a request that a model answers with an error as a success; we as a failure",
        "1",
    ),
    AllowedDifference("odd_shapes", "0/message", BATCH, r".*got \[1,-4\].*"),
    AllowedDifference(
        "odd_shapes", "1", BATCH, r".*'INPUT0' has batch dimension 0, expected 1 to 8.*"
    ),
    AllowedDifference(
        "odd_shapes", "2/message", BATCH, r".*'INPUT0' has batch dimension -1, expected 1 to 8.*"
    ),
    AllowedDifference(
        "unknown_method",
        "[01]/message",
        "the text is the gRPC library's own; the code is the same",
        r'"Method not found!"',
    ),
    AllowedDifference(
        "bad_protobuf_stream",
        "0/1/*",
        "Triton ends the stream with OK, as if nothing had been wrong; we say what was",
        r'"INTERNAL"|"Unable to parse request"',
    ),
    AllowedDifference("shared_memory_parameters", "4/*", SHARED_MEMORY, REFUSED),
    AllowedDifference("shared_memory_status_grpc", "3/*", SHARED_MEMORY, REFUSED),
    AllowedDifference("http_shared_memory", "[345]/*", SHARED_MEMORY, REFUSED),
    AllowedDifference("http_output_parameters", "9/*", SHARED_MEMORY, REFUSED),
    AllowedDifference(
        "http_compression",
        "4/*",
        "Triton takes a body that is no gzip stream for an empty one; we say so",
        r'400|"<absent>"|.*"the request\'s body is no gzip stream.*',
    ),
    AllowedDifference("http_generate_decoupled", "[23]/status", GENERATE_STATUS, "400"),
    AllowedDifference(
        "http_generate_decoupled", "[23]/content_type", GENERATE_STATUS, r'"<absent>"'
    ),
    AllowedDifference("http_generate_errors", "0/status", GENERATE_CODE, "404"),
    AllowedDifference("http_generate_errors", "[12]/status", GENERATE_CODE, "500"),
    AllowedDifference("http_generate_stream", "5/status", GENERATE_CODE, "500"),
    AllowedDifference(
        "ensemble_some_outputs",
        "[015]/*",
        "Triton asks a step's model for all outputs that the step maps, we for those taken",
        r'.*"requested_output_names\\": \[\\"INFO\\"\].*',
    ),
    AllowedDifference(
        "ensemble_shapes",
        "[25]/parameters",
        "Triton leaves out the sequence's parameters when an output is empty; we always send them",
        r'\{"sequence_end": .*\}',
    ),
    AllowedDifference(
        "ensemble_shapes",
        "6",
        "Triton 2.51 drops an output with the step that takes it, though it was asked for",
        r'.*"MIDDLE".*"OK".*',
    ),
    AllowedDifference(
        "ensemble_statistics",
        "4/grown/fail",
        "Triton counts a failed ensemble request twice; we count requests",
        "1",
    ),
    AllowedDifference("ensemble_generate", "4/status", GENERATE_CODE, "404"),
    AllowedDifference(
        "ensemble_described",
        "*/ensemble_scheduling/max_inflight_requests",
        "a field of later Tritons, which 2.51 does not know",
        "0",
    ),
    AllowedDifference(
        "*",
        "*message",
        "Triton does not say why a sequence is gone; we add the reason to its text",
        r".*on the first request of the sequence \(sequence .* ended: [a-z_]+\)\"",
        by_chance=True,
    ),
    AllowedDifference(
        "ensemble_talk",
        "*/triton_final_response/bool_param",
        "whether the last word is known to be the last when it goes out is a race, as in Triton",
        "false",
        by_chance=True,
    ),
)
