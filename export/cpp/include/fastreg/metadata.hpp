// The metadata of an artefact, which are read before its code runs.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fastreg/error.hpp"
#include "fastreg/json.hpp"

namespace fastreg {

/// Version of the metadata that this library can read.
inline constexpr std::int64_t schema = 2;

/// A dimension: a fixed size, or an affine function of a size of the observation, such as "H", "2H", "H+4".
struct Dimension {
  std::string symbol;       ///< "B", "H" or "W"; empty if the size is fixed
  std::int64_t scale = 1;   ///< factor of the symbol
  std::int64_t offset = 0;  ///< added to the product
  std::int64_t minimum = 1;
  std::int64_t maximum = std::numeric_limits<std::int64_t>::max();

  bool fixed() const { return symbol.empty(); }
};

/// An input or output. Complex values are stored as float32 with a last axis of 2: real and imaginary part.
struct Port {
  std::string name;
  std::string dtype;    ///< "float32" or "complex64"
  std::string content;  ///< of an input: "measurement", "noise level", "weight", "psf" or "mask"
  std::vector<Dimension> shape;

  bool is_complex() const { return dtype == "complex64"; }
};

/// The weight lambda as a function of the noise level sigma (in units of [0, 1]).
///
/// weight * sigma^exponent is interpolated linearly in logarithms between the tuned pairs (sigma, weight), and constant
/// outside their range.
struct WeightRule {
  double exponent = 1;
  std::vector<std::pair<double, double>> pairs;  ///< positive, in ascending order of sigma

  double operator()(double sigma) const {
    const double where = std::log(sigma);
    double result = value(0);
    for (std::size_t k = 0; k + 1 < pairs.size(); ++k) {
      const double left = std::log(pairs[k].first);
      const double share = (where - left) / (std::log(pairs[k + 1].first) - left);
      result += std::clamp(share, 0.0, 1.0) * (value(k + 1) - value(k));
    }
    return std::exp(result - exponent * where);
  }

 private:
  double value(std::size_t k) const { return std::log(pairs[k].second) + exponent * std::log(pairs[k].first); }
};

/// The metadata of an artefact.
struct Metadata {
  std::string format;                        ///< "aoti", "onnx", …
  std::string device;                        ///< "cpu" or "cuda"
  std::string fastreg;                       ///< version of fastreg that made it
  std::string torch;                         ///< version of torch that made it
  std::string task;                          ///< "denoise", "deblur", "inpaint", …
  std::string operator_kind;                 ///< kind of the degradation
  std::string prior;                         ///< name of the learned prior
  std::string weights_sha256;                ///< fingerprint of its weights
  std::string precision;                     ///< "ieee", "tf32", "bf16", "fp16"
  std::string layout;                        ///< "contiguous"
  std::vector<Port> inputs;                  ///< in the order of the call: y, sigma, weight, then those of the operator
  Port output;                               ///< the restored image x
  std::vector<std::vector<float>> schedule;  ///< one row per iteration
  std::vector<Port> state;                   ///< the tensors that are passed from one iteration to the next
  std::vector<std::pair<std::string, std::string>> checksums;  ///< SHA-256 of each file, if there are several
  std::optional<double> default_sigma;                         ///< default noise level, if the task has one
  std::optional<WeightRule> weight_rule;                       ///< absent if the prior was not tuned for the task
  std::string json;                                            ///< the complete text

  /// The input of that name, or null.
  const Port* find(std::string_view name) const {
    const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const Port& port) { return port.name == name; });
    return found == inputs.end() ? nullptr : &*found;
  }

  /// The input of that name; throws `Error` (invalid_argument) if the artefact does not have it.
  const Port& at(std::string_view name) const {
    const Port* port = find(name);
    if (port == nullptr)
      detail::fail(Code::invalid_argument, "this artefact for ", task, " takes no input \"", name, "\"");
    return *port;
  }
};

namespace detail {

inline std::string text_or_empty(const json::Value& object, std::string_view key) {
  const json::Value* found = object.find(key);
  return found != nullptr && found->is_string() ? found->string() : "";
}

/// Parse an affine form such as "2H-1".
inline Dimension parse_form(const std::string& text) {
  Dimension dimension;
  const auto number = [&](const char* first, const char* last, std::int64_t& value) {
    const auto [end, error] = std::from_chars(first, last, value);
    return error == std::errc() && end == last && std::abs(value) <= 1000000;
  };
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const std::size_t letter = text.find_first_of("BHW");
  bool well = letter != std::string::npos;
  if (well) {
    dimension.symbol = text[letter];
    if (letter > 0) well = number(begin, begin + letter, dimension.scale) && dimension.scale > 0;
    if (const char* tail = begin + letter + 1; well && tail != end)
      well = (*tail == '+' || *tail == '-') && number(*tail == '+' ? tail + 1 : tail, end, dimension.offset);
  }
  if (!well)
    fail(Code::invalid_file, "the metadata have \"", text, "\" where a size such as \"H\" or \"2H+4\" belongs");
  return dimension;
}

inline Port parse_port(const json::Value& value) {
  Port port{value.at("name").string(), value.at("dtype").string(), text_or_empty(value, "content"), {}};
  if (port.dtype != "float32" && port.dtype != "complex64")
    fail(Code::unsupported, "the artefact has \"", port.name, "\" as ", port.dtype, ", expected float32 or complex64");
  const json::Array& sizes = value.at("shape").array();
  const auto limit = [&](const char* key, std::size_t k, std::int64_t fallback) {
    const json::Value* limits = value.find(key);
    if (limits == nullptr) return fallback;
    if (limits->array().size() != sizes.size())
      fail(Code::invalid_file, "the metadata of the input \"", port.name, "\" lack a limit for each dimension");
    return limits->array()[k].is_null() ? fallback : limits->array()[k].integer();
  };
  for (std::size_t k = 0; k < sizes.size(); ++k) {
    Dimension dimension;
    if (sizes[k].is_string()) {
      dimension = parse_form(sizes[k].string());
      dimension.minimum = limit("min", k, dimension.minimum);
      dimension.maximum = limit("max", k, dimension.maximum);
    } else {
      dimension.minimum = dimension.maximum = sizes[k].integer();
    }
    if (dimension.minimum < 1 || dimension.maximum < dimension.minimum)
      fail(Code::invalid_file, "the metadata of the input \"", port.name, "\" allow no size in dimension ", k);
    port.shape.push_back(dimension);
  }
  return port;
}

inline WeightRule parse_weight_rule(const json::Value& value) {
  WeightRule rule;
  rule.exponent = value.at("exponent").number();
  for (const json::Value& pair : value.at("pairs").array()) {
    const json::Array& numbers = pair.array();
    const bool whole = numbers.size() == 2 && numbers[0].number() > 0 && numbers[1].number() > 0;
    if (!whole || (!rule.pairs.empty() && numbers[0].number() <= rule.pairs.back().first))
      fail(Code::invalid_file, "the weight rule in the metadata is not a list of ascending pairs of positive numbers");
    rule.pairs.emplace_back(numbers[0].number(), numbers[1].number());
  }
  if (rule.pairs.empty()) fail(Code::invalid_file, "the weight rule in the metadata is empty");
  return rule;
}

inline std::vector<std::vector<float>> parse_schedule(const json::Value& value) {
  std::vector<std::vector<float>> schedule;
  for (const json::Value& row : value.array()) {
    std::vector<float>& numbers = schedule.emplace_back();
    for (const json::Value& number : row.array()) numbers.push_back(static_cast<float>(number.number()));
    if (numbers.empty() || numbers.size() != schedule.front().size())
      fail(Code::invalid_file, "the schedule in the metadata has rows of different lengths");
  }
  return schedule;
}

}  // namespace detail

/// Read metadata from JSON.
///
/// Throws `Error`: invalid_file if the text is not valid metadata, unsupported if it has another schema, or inputs that
/// this library does not support.
inline Metadata parse_metadata(const std::string& text) {
  const json::Value root = json::parse(text);
  if (const std::int64_t found = root.at("schema").integer(); found != schema)
    detail::fail(Code::unsupported, "the artefact has metadata of schema ", found, ", this library reads schema ",
                 schema);
  Metadata metadata;
  metadata.json = text;
  metadata.format = root.at("format").string();
  metadata.device = root.at("device").string();
  metadata.task = root.at("task").string();
  metadata.precision = root.at("precision").string();
  metadata.fastreg = detail::text_or_empty(root, "fastreg");
  metadata.torch = detail::text_or_empty(root, "torch");
  metadata.operator_kind = detail::text_or_empty(root.at("operator"), "kind");
  metadata.prior = detail::text_or_empty(root.at("prior"), "name");
  metadata.weights_sha256 = detail::text_or_empty(root.at("prior"), "weights_sha256");
  metadata.layout = detail::text_or_empty(root, "layout");
  for (const json::Value& input : root.at("inputs").array()) metadata.inputs.push_back(detail::parse_port(input));
  const json::Array& outputs = root.at("outputs").array();
  if (outputs.size() != 1)
    detail::fail(Code::unsupported, "the artefact gives ", outputs.size(), " outputs, expected one image");
  metadata.output = detail::parse_port(outputs[0]);
  if (const json::Value* rows = root.find("schedule")) metadata.schedule = detail::parse_schedule(*rows);
  if (const json::Value* state = root.find("state"))
    for (const json::Value& tensor : state->array()) metadata.state.push_back(detail::parse_port(tensor));
  if (const json::Value* files = root.find("files"))
    for (const auto& [name, digest] : files->object()) metadata.checksums.emplace_back(name, digest.string());
  if (const json::Value* sigma = root.find("default_sigma")) metadata.default_sigma = sigma->number();
  if (const json::Value* rule = root.find("weight_rule")) metadata.weight_rule = detail::parse_weight_rule(*rule);

  const std::pair<const char*, std::size_t> known[] = {
      {"measurement", 4}, {"noise level", 1}, {"weight", 1}, {"psf", 2}, {"mask", 4}};
  for (const Port& port : metadata.inputs) {
    const auto fits = [&](const auto& entry) {
      return port.content == entry.first && port.shape.size() == entry.second;
    };
    if (std::none_of(std::begin(known), std::end(known), fits))
      detail::fail(Code::unsupported, "the artefact takes an input \"", port.name, "\" with a ",
                   port.content.empty() ? "content that is not named" : port.content, " of ", port.shape.size(),
                   " dimensions, which this library cannot fill");
    if (port.is_complex() && port.name != "y")
      detail::fail(Code::unsupported, "the artefact takes \"", port.name, "\" as complex64, expected float32");
    if (port.content == "psf" && !(port.shape[0].fixed() && port.shape[1].fixed()))
      detail::fail(Code::unsupported, "the artefact takes a PSF of any size, expected a fixed one");
  }
  const std::pair<const char*, const char*> first[] = {
      {"y", "measurement"}, {"sigma", "noise level"}, {"weight", "weight"}};
  for (std::size_t k = 0; k < metadata.inputs.size() || k < std::size(first); ++k) {
    const bool is_first =
        k < metadata.inputs.size() && metadata.inputs[k].content == first[std::min<std::size_t>(k, 2)].second;
    if (k < std::size(first) && !(is_first && metadata.inputs[k].name == first[k].first))
      detail::fail(Code::invalid_file, "the metadata lack the input \"", first[k].first, "\" in its place");
    if (k >= std::size(first) && metadata.inputs[k].content != "psf" && metadata.inputs[k].content != "mask")
      detail::fail(Code::invalid_file, "the metadata have the input \"", metadata.inputs[k].name, "\" twice");
  }
  if (!metadata.layout.empty() && metadata.layout != "contiguous")
    detail::fail(Code::unsupported, "the artefact takes the layout ", metadata.layout, ", expected contiguous");
  if (metadata.output.shape.size() != 4 || metadata.output.is_complex())
    detail::fail(Code::unsupported, "the output of the artefact is not [B, C, H, W]");
  return metadata;
}

}  // namespace fastreg
