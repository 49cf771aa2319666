"""Writes the trained network as an ONNX graph of one step with explicit state.

    symbol INT64 [B], language INT64 [B], state FP32 [B, layers, hidden]  (zero at the beginning)
      -> said INT64 [B] (the most likely output), state_out FP32 [B, layers, hidden]

Operators are put together by hand: it is a handful of nodes, and needs no exporter.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

IR_VERSION = 8
OPSET = 17

Array = npt.NDArray[Any]


def write(weights: Mapping[str, Array], layers: int, path: Path) -> None:
    """`weights` by torch's names, as `translation.train.Network` has them."""
    hidden = weights["output.weight"].shape[1]
    constants = {
        "symbol_table": weights["symbols.weight"],
        "language_table": weights["languages.weight"],
        "output_weight": weights["output.weight"].T,
        "output_bias": weights["output.bias"],
        "first_axis": np.array([0], np.int64),
        "second_axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["symbol_table", "symbol"], ["symbol_values"]),
        helper.make_node("Gather", ["language_table", "language"], ["language_values"]),
        helper.make_node("Add", ["symbol_values", "language_values"], ["values0"]),
        helper.make_node("Split", ["state"], [f"before{i}" for i in range(layers)], axis=1),
    ]
    for layer in range(layers):
        constants |= _recurrent_weights(weights, layer)
        nodes += _recurrent_nodes(layer, hidden)
    nodes += [
        helper.make_node("Concat", [f"after{i}" for i in range(layers)], ["state_out"], axis=1),
        helper.make_node("MatMul", [f"values{layers}", "output_weight"], ["products"]),
        helper.make_node("Add", ["products", "output_bias"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["said"], axis=1, keepdims=0),
    ]
    state_shape = ["B", layers, hidden]
    graph = helper.make_graph(
        nodes,
        "translate_numbers_step",
        inputs=[
            helper.make_tensor_value_info("symbol", onnx.TensorProto.INT64, ["B"]),
            helper.make_tensor_value_info("language", onnx.TensorProto.INT64, ["B"]),
            helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, state_shape),
        ],
        outputs=[
            helper.make_tensor_value_info("said", onnx.TensorProto.INT64, ["B"]),
            helper.make_tensor_value_info("state_out", onnx.TensorProto.FLOAT, state_shape),
        ],
        initializer=[
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in constants.items()
        ],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _recurrent_nodes(layer: int, hidden: int) -> list[onnx.NodeProto]:
    """One step of a layer. GRU wants a time axis in front, here and in its state."""
    return [
        helper.make_node("Unsqueeze", [f"values{layer}", "first_axis"], [f"sequence{layer}"]),
        helper.make_node("Transpose", [f"before{layer}"], [f"start{layer}"], perm=[1, 0, 2]),
        helper.make_node(
            "GRU",
            [f"sequence{layer}", f"w{layer}", f"r{layer}", f"b{layer}", "", f"start{layer}"],
            ["", f"end{layer}"],
            hidden_size=hidden,
            linear_before_reset=1,  # torch applies the reset gate behind the matrix, too
        ),
        helper.make_node("Squeeze", [f"end{layer}", "first_axis"], [f"values{layer + 1}"]),
        helper.make_node("Unsqueeze", [f"values{layer + 1}", "second_axis"], [f"after{layer}"]),
    ]


def _recurrent_weights(weights: Mapping[str, Array], layer: int) -> dict[str, Array]:
    def gates(kind: str) -> Array:
        """Torch has the gates in the order reset, update, new; ONNX wants update first."""
        reset, update, new = np.split(weights[f"recurrent.{kind}_l{layer}"], 3)
        return np.concatenate([update, reset, new])

    return {
        f"w{layer}": gates("weight_ih")[None],
        f"r{layer}": gates("weight_hh")[None],
        f"b{layer}": np.concatenate([gates("bias_ih"), gates("bias_hh")])[None],
    }
