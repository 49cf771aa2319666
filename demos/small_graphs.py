"""The two small demo graphs, made from a few ONNX operators each.

Like every graph of the demos they run in plain ONNX Runtime and know nothing about StreamGate.
"""

import onnx
from onnx import parser

_ADD_SUB = """
<ir_version: 8, opset_import: ["": 16]>
add_sub (float[B,N] INPUT0, float[B,N] INPUT1) => (float[B,N] OUTPUT0, float[B,N] OUTPUT1)
{
  OUTPUT0 = Add (INPUT0, INPUT1)
  OUTPUT1 = Sub (INPUT0, INPUT1)
}
"""

_RUNNING_SUM = """
<ir_version: 8, opset_import: ["": 16]>
running_sum (int32[B,1] INPUT, int32[B,1] sum) => (int32[B,1] OUTPUT, int32[B,1] sum_out)
{
  OUTPUT = Add (INPUT, sum)
  sum_out = Identity (OUTPUT)
}
"""


def add_sub() -> onnx.ModelProto:
    """INPUT0, INPUT1 FP32 [B,N] -> OUTPUT0 their sum, OUTPUT1 their difference."""
    return _parsed(_ADD_SUB)


def running_sum() -> onnx.ModelProto:
    """INPUT INT32 [B,1] and state `sum` -> OUTPUT, the new sum; state `sum_out` is the same."""
    return _parsed(_RUNNING_SUM)


def _parsed(text: str) -> onnx.ModelProto:
    model = parser.parse_model(text)
    onnx.checker.check_model(model, full_check=True)
    return model
