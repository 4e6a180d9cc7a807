"""A recogniser as an ONNX graph, in full precision and with weights in 8 bits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from stages.learning.recogniser import Recogniser

_OPSET = 17  # the first with layer normalisation
#: Operators with weights: the positions of these inputs, and the axis of the output channels.
#: Recurrent layers have weights [directions, gates, size].
_WEIGHTS = {
    "MatMul": ((1,), -1),
    "Gemm": ((1,), 0),
    "Conv": ((1,), 0),
    "GRU": ((1, 2), 1),
    "LSTM": ((1, 2), 1),
}
_RECURRENT = ("GRU", "LSTM")  # where they give a feature, they are a pre-trained encoder
_MIN_SIZE = 1024  # smaller weights are not worth converting


class _Answers(nn.Module):
    """The outputs of the graph: probabilities and logits, [batch, labels] each.

    Where speakers can be calibrated, also what a speaker is known by: vectors [batch, dimensions].
    """

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self.recogniser = recogniser

    def forward(self, waveform: Tensor) -> tuple[Tensor, ...]:
        logits = self.recogniser(waveform)
        head = self.recogniser.head
        return (logits.softmax(dim=1), logits, *([] if head is None else [head.vectors]))


def to_onnx(recogniser: Recogniser, *, metadata: Mapping[str, str]) -> bytes:
    """Convert a recogniser to a graph from waveform [batch, samples] to probabilities and logits.

    A recogniser that is calibrated to speakers also has the optional inputs `speaker_mean` and
    `speaker_std`, [dimensions], which are those of the average speaker by default, and an output
    `representation`, [batch, dimensions], whose mean over a speaker's clips estimates them.

    Parameters
    ----------
    recogniser : Recogniser
    metadata : mapping of str to str
        stored in the file

    Returns
    -------
    bytes
        content of the file, the same for the same recogniser; stages.exporting.parity tests whether
        the graph computes the same

    Raises
    ------
    ValueError
        if an operation has no counterpart in ONNX, naming it
    """
    names = ["waveform", "probabilities", "logits"]
    names += ["representation"] if recogniser.head else []
    axes = {name: {0: "batch"} for name in names}
    axes["waveform"][1] = "samples"
    example = torch.linspace(-0.1, 0.1, 2 * recogniser.sample_rate).reshape(2, -1)
    stream: Any = io.BytesIO()  # the annotation of torch.onnx.export allows only paths
    with warnings.catch_warnings(), torch.no_grad():
        recogniser(example)  # builds the constants of features, which the graph would include
        # The exporter warns of values that it may freeze; stages.exporting.parity measures whether
        # it did.
        warnings.simplefilter("ignore")
        try:
            # The newer exporter freezes the number of frames of bidirectional layers.
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
        except (RuntimeError, TypeError) as error:  # the exporter raises RuntimeErrors
            raise ValueError(f"cannot be exported: {str(error).splitlines()[0]}") from error
    model = onnx.load_from_string(stream.getvalue())
    if recogniser.head:
        _make_optional(model.graph, {"mean": "speaker_mean", "std": "speaker_std"})
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def _make_optional(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Turn buffers of the last layer into inputs with the buffer as default value."""
    found = {f"recogniser.network.classifier.{buffer}": name for buffer, name in names.items()}
    for tensor in graph.initializer:
        if name := found.get(tensor.name):
            for node in graph.node:
                for place, used in enumerate(node.input):
                    if used == tensor.name:
                        node.input[place] = name
            tensor.name = name
            graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))


def with_int8_weights(graph: bytes) -> bytes:
    """Store the weights of the network in 8 bits, with a scale for each output channel.

    The graph converts them back to float32 before use, so that all computations stay in float32.
    So are those of a pre-trained encoder that gives a feature. Biases, small weights and the
    constants of other features are not changed.

    Parameters
    ----------
    graph : bytes
        from `to_onnx`

    Returns
    -------
    bytes
    """
    model = onnx.load_from_string(graph)
    _store_encoders(model.graph)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for name, axis in _weights(model).items():
        if name not in stored:
            continue
        values = numpy_helper.to_array(stored[name])
        if values.size < _MIN_SIZE or values.dtype != np.float32:
            continue
        nodes += _stored_in_int8(model.graph, stored[name], values, axis=axis % values.ndim)
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """Load a graph to run in one thread, so that results do not depend on the number of cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _weights(model: onnx.ModelProto) -> dict[str, int]:
    """Find the names of the weights, with the axis of their output channels."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        in_network = "/network/" in node.name
        if node.op_type in _RECURRENT or (in_network and node.op_type in _WEIGHTS):
            places, axis = _WEIGHTS[node.op_type]
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            if node.op_type == "Gemm" and not transposed:
                axis = 1
            found |= {node.input[place]: axis for place in places}
    return found


def _store_encoders(graph: onnx.GraphProto) -> None:
    """Store the weights of pre-trained encoders, which are constants, as those of the network."""
    inputs = {name for node in graph.node if node.op_type in _RECURRENT for name in node.input}
    for node in list(graph.node):
        if node.op_type == "Constant" and node.output[0] in inputs:
            (value,) = node.attribute
            tensor = numpy_helper.from_array(numpy_helper.to_array(value.t), node.output[0])
            graph.initializer.append(tensor)
            graph.node.remove(node)


def _stored_in_int8(
    graph: onnx.GraphProto, tensor: onnx.TensorProto, values: np.ndarray, *, axis: int
) -> list[onnx.NodeProto]:
    """Store a weight in 8 bits; return the nodes that restore it as float32 under its name."""
    name, shape = tensor.name, values.shape
    graph.initializer.remove(tensor)
    if axis and values.ndim == 3:  # one axis for direction and channel, for a scale of each
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
