"""A recogniser as an ONNX graph, in full precision and with weights of 8 bits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from stages.learning.recogniser import Recogniser

_OPSET = 17  # the first with layer normalisation
#: Operators of which some inputs are weights: where, and along which axis the output channels lie.
#: Recurrent layers have weights [directions, gates, size].
_WEIGHTS = {
    "MatMul": ((1,), -1),
    "Gemm": ((1,), 0),
    "Conv": ((1,), 0),
    "GRU": ((1, 2), 1),
    "LSTM": ((1, 2), 1),
}
_FEWEST = 1024  # numbers of a weight that is worth it


class _Answers(nn.Module):
    """What the graph gives: probabilities and logits, [batch, labels] each."""

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self.recogniser = recogniser

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.recogniser(waveform)
        return logits.softmax(dim=1), logits


def to_onnx(recogniser: Recogniser, *, metadata: Mapping[str, str]) -> bytes:
    """Write a recogniser as a graph: waveform [batch, samples] -> probabilities, logits.

    Parameters
    ----------
    recogniser : Recogniser
    metadata : text by name
        kept in the file

    Returns
    -------
    bytes
        of the file; the same for the same recogniser. Whether it computes the same is for
        stages.exporting.parity to say

    Raises
    ------
    ValueError
        if something in it has no counterpart in ONNX, naming it
    """
    names = ["waveform", "probabilities", "logits"]
    axes = {name: {0: "batch"} for name in names}
    axes["waveform"][1] = "samples"
    example = torch.linspace(-0.1, 0.1, 2 * recogniser.sample_rate).reshape(2, -1)
    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # Of what might be frozen into the graph: whether anything was, is measured afterwards.
        warnings.simplefilter("ignore")
        try:
            # The newer exporter freezes the number of frames of layers that run in two directions.
            torch.onnx.export(
                _Answers(recogniser).eval(),
                (example,),
                stream,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_axes=axes,
                opset_version=_OPSET,
                dynamo=False,
            )
        except (RuntimeError, TypeError) as error:  # the exporter's own are RuntimeErrors
            raise ValueError(f"cannot be exported: {str(error).splitlines()[0]}") from error
    model = onnx.load_from_string(stream.getvalue())
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def with_int8_weights(graph: bytes) -> bytes:
    """Keep the network's weights in 8 bits, with a scale for each output channel.

    They are made float32 again where they are used, so that everything is computed as before.
    Biases, small weights and what features are made with stay as they are.

    Parameters
    ----------
    graph : bytes
        what `to_onnx` gives

    Returns
    -------
    bytes
    """
    model = onnx.load_from_string(graph)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for name, axis in _weights_of_network(model).items():
        if name not in stored:
            continue
        values = numpy_helper.to_array(stored[name])
        if values.size < _FEWEST or values.dtype != np.float32:
            continue
        nodes += _stored_in_int8(model.graph, stored[name], values, axis=axis % values.ndim)
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """Load a graph to be run in one thread, so that results depend on no number of cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _weights_of_network(model: onnx.ModelProto) -> dict[str, int]:
    """Names of what the network's layers take as weights, and the axis of output channels."""
    found = {}
    for node in model.graph.node:
        if "/network/" in node.name and node.op_type in _WEIGHTS:
            places, axis = _WEIGHTS[node.op_type]
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if node.op_type == "Gemm" and not transposed:
                axis = 1
            found |= {node.input[place]: axis for place in places}
    return found


def _stored_in_int8(
    graph: onnx.GraphProto, tensor: onnx.TensorProto, values: np.ndarray, *, axis: int
) -> list[onnx.NodeProto]:
    """Store a weight in 8 bits; the nodes that make it float32 again under its own name."""
    name, shape = tensor.name, values.shape
    graph.initializer.remove(tensor)
    if axis and values.ndim == 3:  # a scale for each channel of each direction: one axis for both
        values, axis = values.reshape(-1, shape[-1]), 0
    others = tuple(i for i in range(values.ndim) if i != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    for suffix, array in (
        ("int8", np.rint(values / scale).astype(np.int8)),
        ("scale", scale.reshape(-1)),
    ):
        graph.initializer.append(numpy_helper.from_array(array, f"{name}_{suffix}"))
    flat = name if values.shape == shape else f"{name}_flat"
    inputs = [f"{name}_int8", f"{name}_scale"]
    nodes = [helper.make_node("DequantizeLinear", inputs, [flat], f"{name}_float", axis=axis)]
    if flat != name:
        whole = numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape")
        graph.initializer.append(whole)
        nodes.append(helper.make_node("Reshape", [flat, whole.name], [name], f"{name}_whole"))
    return nodes
