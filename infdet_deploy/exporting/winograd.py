"""Winograd convolutions: 3×3 and 3×3×3 convolutions of an ONNX graph with fewer products and the same result.

F(m×m, 3×3) computes a tile of m×m outputs from (m+2)×(m+2) inputs (Lavin and Gray 2016, "Fast Algorithms for
Convolutional Neural Networks"):

1. Cut the padded input into overlapping tiles and transform each with Bᵀ: (m+2)² numbers per tile and channel.
2. Each of these numbers is a group of a grouped convolution with the transformed weights, over time alone.
3. Transform the results with Aᵀ to m×m outputs per tile, and join the tiles.

A direct convolution needs 9·m² products per tile and pair of channels, this one (m+2)²: 36 instead of 144 for m = 4.
All operators are plain ones. The graph contains the weights as they are, because transformed ones need 4 times the
space; a backend transforms them once, when it compiles.

The operators before and after the grouped convolution keep the channels last, as OpenVINO's convolutions do. OpenVINO
removes the transposes between them only where the graph's shapes are fixed. With a varying T it copies every layer's
tensors, and the graph is slower than the plain one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

Array = npt.NDArray[np.float64]

# Points at which the polynomials are evaluated, in addition to infinity. Small numbers and their inverses round least.
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 1.0, -1.0, 2.0, -2.0), 6: (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)}


def matrices(m: int) -> tuple[Array, Array, Array]:
    """Bᵀ [m+2, m+2], G [m+2, 3] and Aᵀ [m, m+2] of F(m, 3), by Toom and Cook's construction."""
    points = POINTS[m]
    n = m + 2
    # Rows of the evaluation matrices; the last one is the point at infinity, which reads the leading coefficient.
    a = np.array([[p**i for i in range(m)] for p in points] + [[0.0] * (m - 1) + [1.0]])
    g = np.array([[p**i for i in range(3)] for p in points] + [[0.0, 0.0, 1.0]])
    evaluate = np.array([[p**i for i in range(n)] for p in points] + [[0.0] * (n - 1) + [1.0]])
    b = np.linalg.inv(evaluate).T
    # Scale by row, so that B has whole numbers or short fractions: G takes the inverse.
    scale = np.array([prod(p - q for q in points if q != p) for p in points] + [1.0])
    return b * scale[:, None], g / scale[:, None], a.T


@dataclass(frozen=True)
class Layer:
    """A convolution with stride 1 that pads height and width with 1.

    size: height and width. in_time: the kernel is 3×3×3, not 3×3. pads_time: T is padded too, so that T stays as it is.
    """

    inputs: int
    outputs: int
    size: tuple[int, int]
    in_time: bool = False
    pads_time: bool = False


class _Nodes:
    """Collects the nodes and constants of one rewritten layer, named after it."""

    def __init__(self, layer: str) -> None:
        self.layer, self.nodes, self.constants = layer, [], []  # type: ignore[var-annotated]

    def add(self, operator: str, *inputs: str | npt.NDArray[np.generic] | Sequence[int], **attributes: object) -> str:
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        output = f"{self.layer}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))  # type: ignore[arg-type]
        return output

    def constant(self, values: npt.NDArray[np.generic] | Sequence[int]) -> str:
        name = f"{self.layer}/constant_{len(self.constants)}"
        array = values if isinstance(values, np.ndarray) else np.array(values, np.int64)
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name


def _convolution(add: _Nodes, x: str, weight: str, bias: str, layer: Layer, m: int) -> str:
    """x float32 [T, H, W, C] → [T', H, W, D]; weight, bias: names of the [D, C, …] weights and the [D] biases."""
    n, count = m + 2, (m + 2) ** 2
    c, d, taps, (height, width) = layer.inputs, layer.outputs, 3 if layer.in_time else 1, layer.size
    b, g, a = (np.kron(matrix, matrix).astype(np.float32) for matrix in matrices(m))
    rows, columns = -(-height // m), -(-width // m)
    tiles = rows * columns
    # One more row and column of zeros than the convolution's own padding where the tiles need it.
    ends = [0, rows * m + 1 - height, columns * m + 1 - width, 0]
    x = add.add("Pad", x, [0, 1, 1, 0, *ends])
    x = add.add("Reshape", x, [-1, (rows * m + 2) * (columns * m + 2), c])
    x = add.add("Gather", x, _tile_pixels(m, rows, columns), axis=1)
    x = add.add("MatMul", b, add.add("Reshape", x, [-1, count, c]))
    x = add.add("Transpose", add.add("Reshape", x, [1, -1, tiles, count * c]), perm=[0, 3, 1, 2])
    u = add.add("Transpose", add.add("Reshape", weight, [d * c * taps, 9]), perm=[1, 0])
    u = add.add("Reshape", add.add("MatMul", g, u), [count * d, c, taps, 1])
    # Every output of a tile reads the number at the points (1, 1) once, so the bias is added there.
    one = np.zeros((count, 1), np.float32)
    one[POINTS[m].index(1.0) * (n + 1)] = 1
    v = add.add("Reshape", add.add("Mul", one, bias), [-1])
    x = add.add("Conv", x, u, v, group=count, pads=[int(layer.pads_time), 0] * 2)
    x = add.add("Reshape", add.add("Transpose", x, perm=[0, 2, 3, 1]), [-1, count, d])
    x = add.add("Reshape", add.add("MatMul", a, x), [-1, rows, columns, m, m * d])
    x = add.add("Reshape", add.add("Transpose", x, perm=[0, 1, 3, 2, 4]), [-1, rows * m, columns * m, d])
    if (rows * m, columns * m) != (height, width):
        x = add.add("Slice", x, [0, 0], [height, width], [1, 2])
    return x


def _tile_pixels(m: int, rows: int, columns: int) -> npt.NDArray[np.int64]:
    """The pixels of every tile in the flattened padded picture: [tiles · (m+2)²]."""

    def starts(count: int) -> npt.NDArray[np.int64]:
        return m * np.arange(count)[:, None] + np.arange(m + 2)

    y, x = starts(rows)[:, None, :, None], starts(columns)[None, :, None, :]
    return (y * (columns * m + 2) + x).reshape(-1)


def choose_measured(layer: Layer) -> int | None:
    """The tile measured fastest with AVX2 (docs/benchmarks.md), None where that is the direct convolution.

    F(4×4) was fastest wherever any F(m×m) was worth it. At 7×7 it gains 1 % of a tower and costs memory for weights.
    """
    return 4 if layer.in_time and layer.inputs >= 32 and min(layer.size) >= 14 else None


def rewrite(model: onnx.ModelProto, choose: Callable[[Layer], int | None] = choose_measured) -> onnx.ModelProto | None:
    """The graph with Winograd convolutions where `choose` gives the number of outputs per side of a tile.

    The other layers stay as they are. None if `choose` gives no number. Height and width must be known.
    """
    dims = _dims(model)
    weights = {c.name: tuple(c.dims) for c in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    relus = {node.input[0]: node for node in model.graph.node if node.op_type == "Relu"}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    replaced: set[str] = set()  # outputs
    for node in model.graph.node:
        layer = _layer_of(node, weights, dims)
        m = choose(layer) if layer else None
        if layer is not None and m is not None:
            # The ReLU comes before the transpose, which OpenVINO then merges with the next layer.
            relu = relus.get(node.output[0]) if readers[node.output[0]] == 1 else None
            added = _replacement(node, layer, m, relu)
            replaced |= {node.output[0], added.nodes[-1].output[0]}
            nodes += added.nodes
            result.graph.initializer.extend(added.constants)
        elif node.op_type != "Relu" or node.output[0] not in replaced:
            nodes.append(node)
    if not replaced:
        return None
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    _keep_channels_last(result, replaced, dims)
    onnx.checker.check_model(result)
    return result


def winograd_name(stage: str) -> str:
    """The file name of a stage's float32 graph with Winograd convolutions."""
    return f"{stage}.float32.winograd.onnx"


def _dims(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, with 0 for dimensions that vary."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input)
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in values}


def _keep_channels_last(model: onnx.ModelProto, replaced: set[str], dims: Mapping[str, tuple[int, ...]]) -> None:
    """Multiply the input of a pool after a replaced layer by 1, as a convolution.

    OpenVINO's pools accept either order of dimensions, so it would keep the transpose before them and move the tower's
    largest tensor, a tenth of the tower's time. Its convolutions want channels last, which removes the transpose.
    """
    last, nodes = set(replaced), []
    for node in model.graph.node:
        if node.op_type in ("Squeeze", "Transpose") and node.input[0] in last:
            last.add(node.output[0])
        if node.op_type == "MaxPool" and node.input[0] in last:
            source, shape = node.input[0], dims[node.input[0]]
            ones = np.ones((shape[1], 1, *[1] * (len(shape) - 2)), np.float32)
            model.graph.initializer.append(numpy_helper.from_array(ones, f"{source}/ones"))
            copied = f"{source}/channels_last"
            nodes.append(helper.make_node("Conv", [source, f"{source}/ones"], [copied], name=copied, group=shape[1]))
            node.input[0] = copied
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _layer_of(
    node: onnx.NodeProto, weights: Mapping[str, tuple[int, ...]], dims: Mapping[str, tuple[int, ...]]
) -> Layer | None:
    """The layer that a node computes; None for anything but a convolution that Winograd's algorithm can compute."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return None
    outputs, inputs, *kernel = weights[node.input[1]]
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    ones = (given.get("strides", [1]), given.get("dilations", [1]), [given.get("group", 1)])
    pads = list(given.get("pads", [0] * 2 * len(kernel)))
    if kernel not in ([3, 3], [3, 3, 3]) or any(set(values) != {1} for values in ones):
        return None
    in_time = pads[: len(kernel) - 2] + pads[len(kernel) : -2]
    if pads[-2:] != [1, 1] or pads[len(kernel) - 2 : len(kernel)] != [1, 1] or in_time not in ([], [0, 0], [1, 1]):
        return None
    height, width = dims.get(node.input[0], ())[-2:] or (0, 0)
    known = height > 0 and width > 0
    return Layer(inputs, outputs, (height, width), len(kernel) == 3, in_time == [1, 1]) if known else None


def _replacement(node: onnx.NodeProto, layer: Layer, m: int, relu: onnx.NodeProto | None) -> _Nodes:
    """The nodes that compute a convolution's output, or that of the ReLU after it."""
    add, (height, width) = _Nodes(node.name), layer.size
    bias = node.input[2] if len(node.input) > 2 else add.constant(np.zeros(layer.outputs, np.float32))
    x = add.add("Transpose", node.input[0], perm=[0, 2, 3, 4, 1] if layer.in_time else [0, 2, 3, 1])
    if layer.in_time:
        x = add.add("Reshape", x, [-1, height, width, layer.inputs])
    x = _convolution(add, x, node.input[1], bias, layer, m)
    x = x if relu is None else add.add("Relu", x)
    if layer.in_time:
        x = add.add("Reshape", x, [1, -1, height, width, layer.outputs])
    add.add("Transpose", x, perm=[0, 4, 1, 2, 3] if layer.in_time else [0, 3, 1, 2])
    add.nodes[-1].output[0] = (node if relu is None else relu).output[0]
    return add
