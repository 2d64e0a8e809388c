"""What an ONNX file may not contain is found in every place where a graph can contain it."""

import time

import pytest

from infdet_deploy.bundle.loading import load_bundle
from infdet_deploy.bundle.manifest import write_manifest
from infdet_deploy.bundle.onnx_file import CONTENT, OPERATORS, fault
from infdet_deploy.errors import BundleError
from tests.bundle.small_bundle import EMPTY_ONNX, small_manifest, write_small_bundle

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, onnx_ml_pb2

EXTERNAL = "keeps tensors in another file (external data)"


def tensor(external=True):
    made = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    if external:
        made.ClearField("float_data")
        made.data_location = TensorProto.EXTERNAL
        made.external_data.add(key="location", value="../../etc/passwd")
    return made


def graph(**parts):
    made = helper.make_graph(parts.get("node", []), "g", [], [], parts.get("initializer", []))
    if "sparse" in parts:
        made.sparse_initializer.append(parts["sparse"])
    return made


def sparse(values, indices):
    made = onnx.SparseTensorProto(dims=[4])
    made.values.CopyFrom(values)
    made.indices.CopyFrom(indices)
    return made


def node(**attributes):
    made = helper.make_node("Constant", [], [])
    for name, value in attributes.items():
        made.attribute.append(helper.make_attribute(name, value))
    return made


def models(external):
    """A model for every place that can contain a tensor."""
    w, plain = tensor(external), tensor(False)
    inner = graph(initializer=[plain, w])
    yield "initializer", helper.make_model(graph(initializer=[plain, w]))
    yield "sparse values", helper.make_model(graph(sparse=sparse(w, plain)))
    yield "sparse indices", helper.make_model(graph(sparse=sparse(plain, w)))
    yield "attribute", helper.make_model(graph(node=[node(a=3), node(value=w)]))
    yield "attribute of tensors", helper.make_model(graph(node=[node(values=[plain, w])]))
    yield "sparse attribute", helper.make_model(graph(node=[node(value=sparse(w, plain))]))
    yield "sparse attributes", helper.make_model(graph(node=[node(values=[sparse(plain, plain), sparse(w, plain)])]))
    yield "graph of a node", helper.make_model(graph(node=[node(then_branch=inner)]))
    yield "graphs of a node", helper.make_model(graph(node=[node(branches=[graph(), inner])]))
    deep = inner
    for _ in range(30):
        deep = graph(node=[node(body=deep)])
    yield "deep graph", helper.make_model(deep)
    for part in ("initialization", "algorithm"):
        model = helper.make_model(graph())
        getattr(model.training_info.add(), part).CopyFrom(inner)
        yield part, model


@pytest.mark.parametrize("external", [True, False])
def test_external_data_in_every_place(tmp_path, external):
    for place, model in models(external):
        (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
        assert fault(tmp_path / "a.onnx") == (EXTERNAL if external else None), place


@pytest.mark.parametrize("field", ["external_data", "data_location"])
def test_either_field_is_enough(tmp_path, field):
    w = tensor()
    w.ClearField(field)
    (tmp_path / "a.onnx").write_bytes(helper.make_model(graph(initializer=[w])).SerializeToString())
    assert fault(tmp_path / "a.onnx") == EXTERNAL


def with_operator(node):
    """A model for every place that can contain a node."""
    plain = helper.make_node("Add", ["a", "b"], ["c"])
    yield helper.make_model(graph(node=[plain, node]))
    deep = graph(node=[plain, node])
    for _ in range(30):
        deep = graph(node=[helper.make_node("Add", [], [], body=deep)])
    yield helper.make_model(deep)
    for part in ("initialization", "algorithm"):
        model = helper.make_model(graph())
        getattr(model.training_info.add(), part).CopyFrom(graph(node=[node]))
        yield model


@pytest.mark.parametrize(
    ("operator", "domain", "why"),
    [
        ("Loop", "", "uses the operator 'Loop', which no export contains"),
        ("If", "ai.onnx", "uses the operator 'If', which no export contains"),
        ("Scan", "", "uses the operator 'Scan', which no export contains"),
        ("relu", "", "uses the operator 'relu', which no export contains"),
        ("", "", "has a node without operator"),
        ("Relu\0", "", "uses the operator 'Relu', which no export contains"),
        ("x" * 10_000, "", f"uses the operator '{'x' * 100}', which no export contains"),
        ("Relu", "com.microsoft", "uses operators of the domain 'com.microsoft', which no export contains"),
        ("Relu", "ai.onnx.ml", "uses operators of the domain 'ai.onnx.ml', which no export contains"),
        ("Relu", "", None),
        ("Conv", "ai.onnx", None),
    ],
)
def test_operators(tmp_path, operator, domain, why):
    for model in with_operator(helper.make_node(operator, ["x"], ["y"], domain=domain)):
        (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
        assert fault(tmp_path / "a.onnx") == why


def test_a_second_name_of_the_operator_counts(tmp_path):
    """Readers take the last of two names; either would do for a check that reads one of them."""
    name = b"\x22\x04Relu", b"\x22\x04Loop"
    for both in (name, name[::-1]):
        node = b"".join(both)
        data = b"\x3a" + bytes([len(node) + 2]) + b"\x0a" + bytes([len(node)]) + node
        (tmp_path / "a.onnx").write_bytes(data)
        assert onnx.load(tmp_path / "a.onnx").graph.node[0].op_type in ("Relu", "Loop")
        assert "'Loop'" in fault(tmp_path / "a.onnx")


def test_functions(tmp_path):
    """They could give a known name another meaning."""
    for domain in ("d", ""):
        function = helper.make_function(domain, "Relu", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [])
        (tmp_path / "a.onnx").write_bytes(helper.make_model(graph(), functions=[function]).SerializeToString())
        assert fault(tmp_path / "a.onnx") == "defines operators of its own (functions)"


def test_operators_are_in_the_standard_and_have_no_graphs():
    for name in OPERATORS:
        schema = onnx.defs.get_schema(name)
        kinds = {attribute.type for attribute in schema.attributes.values()}
        assert not kinds & {onnx.defs.OpSchema.AttrType.GRAPH, onnx.defs.OpSchema.AttrType.GRAPHS}, name


def test_fields_match_the_onnx_package():
    """CONTENT has every field that leads to a node or tensor, and no other; functions are refused."""
    leads = set(CONTENT)
    for name, fields in CONTENT.items():
        descriptor = getattr(onnx_ml_pb2, name).DESCRIPTOR
        wanted = {f.number: f.message_type.name for f in descriptor.fields if f.message_type}
        assert fields == {number: kind for number, kind in wanted.items() if kind in leads}
        assert name == "ModelProto" or "FunctionProto" not in wanted.values()
    others = {
        f.message_type.name: f.message_type
        for name in leads
        for f in getattr(onnx_ml_pb2, name).DESCRIPTOR.fields
        if f.message_type and f.message_type.name not in leads and f.message_type.name != "FunctionProto"
    }
    while others:
        _, descriptor = others.popitem()
        for field in descriptor.fields:
            assert field.message_type is None or field.message_type.name not in leads
            if field.message_type and field.message_type is not descriptor and field.message_type.name != "TypeProto":
                others[field.message_type.name] = field.message_type


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\x08\x08", "no graph"),
        (b"not a model", "wire type"),
        (bytes(100), "no field has the key 0"),
        (EMPTY_ONNX[:-1], "longer than its message"),
        (EMPTY_ONNX + b"\x80", "does not end"),
        (EMPTY_ONNX + b"\xff" * 20, "does not end"),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "too large"),
        (b"\x3a\x04\x0a\x02\x20\x01", "field 4 of NodeProto has the wrong type"),
        (b"\x38\x01", "field 7 of ModelProto has the wrong type"),
        (b"\xba\x80\x80\x80\x10\x00", "no field has the key"),
        (b"\x3a\xff\xff\xff\xff\x0f", "longer"),
    ],
)
def test_not_an_onnx_file(tmp_path, data, why):
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(ValueError, match=why):
        fault(tmp_path / "a.onnx")


def test_a_bundle_with_external_data_is_refused(tmp_path):
    bundle = write_small_bundle(tmp_path / "small.infdet")
    model = helper.make_model(graph(initializer=[tensor()]))
    (bundle / "fen.float32.onnx").write_bytes(model.SerializeToString())
    write_manifest(bundle, small_manifest(bundle))
    with pytest.raises(BundleError, match=r"'fen\.float32\.onnx' keeps tensors in another file \(external data\)"):
        load_bundle(bundle)
    (bundle / "fen.float32.onnx").write_bytes(b"\0\1\2")
    write_manifest(bundle, small_manifest(bundle))
    with pytest.raises(BundleError, match=r"'fen\.float32\.onnx' is not an ONNX file"):
        load_bundle(bundle)


@pytest.mark.parametrize("form", ["openvino", "openvino_fixed_shapes", "onnxruntime", "tensorrt"])
def test_files_of_a_backend_are_checked_too(tmp_path, form):
    bundle = write_small_bundle(tmp_path / "small.infdet")
    (bundle / "fen.bin").write_bytes(helper.make_model(graph(initializer=[tensor()])).SerializeToString())
    manifest = small_manifest(bundle)
    manifest["stages"]["fen"]["files"][form] = {"float32": "fen.bin"}
    write_manifest(bundle, manifest)
    with pytest.raises(BundleError, match=rf"fen float32 {form} is 'fen\.bin', expected a name that ends in \.onnx"):
        load_bundle(bundle)


def test_weights_are_not_read(tmp_path):
    """A sparse file of 2 GB, nearly all of it one tensor's data, takes no time."""
    length, head = 1 << 31, tensor(False)
    head.ClearField("float_data")

    def field(number, size):
        varint, left = b"", size
        while True:
            varint += bytes([left & 127 | (128 if left > 127 else 0)])
            left >>= 7
            if not left:
                return bytes([number << 3 | 2]) + varint

    raw = field(9, length)
    w = field(5, len(head.SerializeToString()) + len(raw) + length) + head.SerializeToString() + raw
    with open(tmp_path / "a.onnx", "wb") as file:
        file.write(field(7, len(w) + length) + w)
        file.truncate(file.tell() + length)
    begun = time.monotonic()
    assert fault(tmp_path / "a.onnx") is None
    assert time.monotonic() - begun < 0.5
