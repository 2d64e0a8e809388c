// An ONNX file is a protobuf message. Any of its graphs may contain tensors, and each tensor says where its data are:
// 1. A message is a sequence of fields: a key (number * 8 + wire type, a varint), then the value.
// 2. Wire type 0 is a varint, 1 is 8 bytes, 5 is 4 bytes; 2 is a length and as many bytes: text, numbers, or a message.
// 3. A tensor with external data has external_data (field 13) or a data_location (field 14) other than 0.
// 4. A node has its operator's name in field 4 and the operator's domain in field 7; ONNX's own domain is empty.
// Only keys, lengths and names are read, not the weights. infdet_deploy/bundle/onnx_file.py makes the same checks.
#include "onnx_file.h"

#include <set>
#include <stdexcept>
#include <vector>

#include "error.h"

namespace infdet::detail {
namespace {

// Operators in our exports, and operators that other versions of the exporter may write for the same networks.
const std::set<std::string> kOperators = {
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip", "Concat",
    "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div", "Equal",
    "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual",
    "Identity", "InstanceNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "MaxPool",
    "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Sign", "Size", "Slice",
    "Softmax", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where"};
const std::set<std::string> kDomains = {"", "ai.onnx"};
constexpr uint64_t kFunctions = 25;                        // of a model
constexpr uint64_t kOperator = 4, kDomain = 7;             // of a node
constexpr uint64_t kExternalData = 13, kDataLocation = 14; // of a tensor
constexpr uint64_t kLongestName = 100;                     // bytes of a name in a message

enum Kind { kModel, kTraining, kGraph, kNode, kAttribute, kSparseTensor, kTensor, kOther };
enum Wire { kVarint = 0, kEightBytes = 1, kBytes = 2, kFourBytes = 5 };

// The kind of message in a field, for the fields that may contain nodes or tensors, except functions.
Kind inside(Kind kind, uint64_t field) {
  switch (kind) {
  case kModel: return field == 7 ? kGraph : field == 20 ? kTraining : kOther;
  case kTraining: return field == 1 || field == 2 ? kGraph : kOther;
  case kGraph: return field == 1 ? kNode : field == 5 ? kTensor : field == 15 ? kSparseTensor : kOther;
  case kNode: return field == 5 ? kAttribute : kOther;
  case kAttribute:
    return field == 5 || field == 10    ? kTensor
           : field == 6 || field == 11  ? kGraph
           : field == 22 || field == 23 ? kSparseTensor
                                        : kOther;
  case kSparseTensor: return field == 1 || field == 2 ? kTensor : kOther;
  default: return kOther;
  }
}

[[noreturn]] void refuse(const char *why, uint64_t at) {
  throw std::invalid_argument(std::string(why) + " at byte " + std::to_string(at));
}

// Read the number at `at` and advance `at`.
uint64_t varint(Bytes &data, uint64_t &at, uint64_t stop) {
  uint64_t value = 0;
  for (int shift = 0; at < stop && shift < 70; shift += 7) {
    uint8_t byte = data.at(at++);
    if (shift == 63 && byte > 1) refuse("a number too large", at);
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
  refuse("a number that does not end", at);
}

std::string text(Bytes &data, uint64_t start, uint64_t length) {
  std::string found;
  for (uint64_t i = 0; i < length && i < kLongestName; ++i) found += static_cast<char>(data.at(start + i));
  return found;
}

struct Message {
  Kind kind;
  uint64_t start, stop;
};

} // namespace

std::string fault(Bytes &model) {
  if (!model.size()) throw std::invalid_argument("it is empty");
  bool graphs = false;
  std::vector<Message> ahead{{kModel, 0, model.size()}};
  while (!ahead.empty()) {
    auto [kind, at, stop] = ahead.back();
    ahead.pop_back();
    bool named = kind != kNode;
    while (at < stop) {
      uint64_t key = varint(model, at, stop);
      if (key < 8 || key >> 32) refuse("a key that no field has", at); // other readers keep 32 bits and would see another field
      uint64_t field = key >> 3, wire = key & 7, number = 0, length = 0;
      if (wire == kVarint)
        number = varint(model, at, stop);
      else if (wire == kBytes)
        length = varint(model, at, stop);
      else if (wire == kEightBytes || wire == kFourBytes)
        length = wire == kEightBytes ? 8 : 4;
      else
        refuse("an unknown wire type", at);
      if (length > stop - at) refuse("a value longer than its message", at);
      if (kind == kNode && (field == kOperator || field == kDomain)) {
        if (wire != kBytes) refuse("a field of the wrong type", at);
        const std::string name = text(model, at, length);
        named = named || (field == kOperator && length);
        if (!(field == kOperator ? kOperators : kDomains).count(name) && (field == kDomain || length))
          return std::string("uses ") + (field == kOperator ? "the operator" : "operators of the domain") + " '" +
                 brief(name) + "', which no export contains";
      }
      if (kind == kModel && field == kFunctions) return "defines operators of its own (functions)";
      if (kind == kTensor && (field == kExternalData || (field == kDataLocation && (wire != kVarint || number))))
        return "keeps tensors in another file (external data)";
      Kind inner = inside(kind, field);
      if (inner != kOther) {
        if (wire != kBytes) refuse("a field of the wrong type", at);
        ahead.push_back({inner, at, at + length});
        graphs = graphs || inner == kGraph;
      }
      at += length;
    }
    if (!named) return "has a node without operator";
  }
  if (!graphs) throw std::invalid_argument("it contains no graph");
  return "";
}

} // namespace infdet::detail
