// Checks of inputs, on plain arrays; shared by all back ends.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fastreg/error.hpp"
#include "fastreg/metadata.hpp"

namespace fastreg::detail {

/// Values of symbols such as "H" in a call.
using Sizes = std::map<std::string, std::int64_t>;

inline std::string to_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t k = 0; k < shape.size(); ++k) text += (k != 0 ? ", " : "") + std::to_string(shape[k]);
  return text + "]";
}

/// The shape of a port as text, such as "[B, 3, 2H, W]".
inline std::string to_text(const Port& port) {
  std::string text = "[";
  for (const Dimension& size : port.shape) {
    text += text.size() > 1 ? ", " : "";
    if (size.fixed()) {
      text += std::to_string(size.minimum);
      continue;
    }
    text += (size.scale != 1 ? std::to_string(size.scale) : "") + size.symbol + (size.offset > 0 ? "+" : "") +
            (size.offset != 0 ? std::to_string(size.offset) : "");
  }
  return text + (port.is_complex() ? ", 2]" : "]");
}

/// Throw unless a shape in memory fits its port. Symbols are looked up in `sizes`, and added when they first occur.
inline void check_shape(const Port& port, std::span<const std::int64_t> shape, Sizes& sizes) {
  static constexpr const char* names[] = {"batch", "channels", "height", "width"};
  const std::size_t dimensions = port.shape.size();
  const bool pairs = !port.is_complex() || (!shape.empty() && shape.back() == 2);
  if (shape.size() != dimensions + (port.is_complex() ? 1 : 0) || !pairs)
    fail(Code::invalid_shape, port.name, " must have ", dimensions + (port.is_complex() ? 1 : 0), " dimensions, ",
         to_text(port), ", got ", to_text(shape));
  for (std::size_t k = 0; k < dimensions; ++k) {
    const Dimension& expected = port.shape[k];
    const char* what = dimensions == 4 ? names[k] : dimensions == 2 ? names[k + 2] : names[0];
    if (expected.fixed() && shape[k] != expected.minimum)
      fail(Code::invalid_shape, port.name, " must have ", expected.minimum, " in the dimension ", what, ", ",
           to_text(port), ", got ", to_text(shape));
    if (shape[k] < expected.minimum)
      fail(Code::invalid_shape, port.name, " is too small: ", what, " must be at least ", expected.minimum, ", got ",
           shape[k]);
    if (shape[k] > expected.maximum)
      fail(Code::invalid_shape, port.name, " is too large: ", what, " must be at most ", expected.maximum, ", got ",
           shape[k]);
    if (expected.fixed()) continue;
    const std::int64_t scaled = shape[k] - expected.offset;
    if (scaled % expected.scale != 0 || scaled < expected.scale)
      fail(Code::invalid_shape, port.name, " must have the shape ", to_text(port), ", got ", to_text(shape));
    const std::int64_t value = sizes.emplace(expected.symbol, scaled / expected.scale).first->second;
    if (expected.scale * value != scaled)
      fail(Code::invalid_shape, port.name, " must agree with the other arrays in ", what, ": expected ",
           expected.scale * value + expected.offset, ", got ", shape[k]);
  }
}

/// The shape of a port in memory, given the values of its symbols.
inline std::vector<std::int64_t> resolve(const Port& port, const Sizes& sizes) {
  std::vector<std::int64_t> shape;
  for (const Dimension& size : port.shape) {
    const auto found = sizes.find(size.symbol);
    if (!size.fixed() && found == sizes.end())
      fail(Code::unsupported, "the size of ", port.name, " depends on ", size.symbol, ", which no observation has");
    shape.push_back(size.fixed() ? size.minimum : size.scale * found->second + size.offset);
    if (shape.back() < 1) fail(Code::invalid_file, "the metadata give ", port.name, " the shape ", to_text(shape));
  }
  if (port.is_complex()) shape.push_back(2);
  return shape;
}

/// The number of elements of a shape without negative sizes.
inline std::size_t count(std::span<const std::int64_t> shape) {
  std::size_t result = 1;
  for (const std::int64_t size : shape) result *= static_cast<std::size_t>(size);
  return result;
}

/// The shape of the result for an observation with a valid shape in memory.
inline std::array<std::int64_t, 4> result_shape(const Metadata& metadata, std::span<const std::int64_t> y) {
  Sizes sizes;
  check_shape(metadata.at("y"), y, sizes);
  const std::vector<std::int64_t> shape = resolve(metadata.output, sizes);
  return {shape[0], shape[1], shape[2], shape[3]};
}

/// Throw if a value is NaN or infinite.
inline void check_finite(const std::string& name, std::span<const float> values) {
  for (std::size_t k = 0; k < values.size(); ++k)
    if (!std::isfinite(values[k]))
      fail(Code::invalid_value, name, " must be finite, got ", values[k], " at element ", k);
}

/// Larger values cannot be in units of the image range: white plus nine standard deviations of the strongest noise.
inline constexpr float largest_value = 10.0F;

/// Throw if an observation has a value that is not finite or, if it is real, not in units of [0, 1].
inline void check_observations(const Port& port, std::span<const float> values) {
  check_finite(port.name, values);
  if (port.is_complex()) return;
  for (const float value : values)
    if (std::abs(value) > largest_value)
      fail(Code::invalid_value, port.name, " must be in units of [0, 1], as sigma is, got ", value,
           ": divide images of 8 bits by 255");
}

/// Throw if a noise level or weight is not positive and finite, or a noise level is not below 1.
inline void check_positive(const std::string& name, std::span<const float> values) {
  for (const float value : values) {
    if (!(value > 0) || !std::isfinite(value))
      fail(Code::invalid_value, name, " must be positive and finite, got ", value);
    if (name == "sigma" && value >= 1)
      fail(Code::invalid_value, "sigma must be below 1, in units of [0, 1], got ", value);
  }
}

/// Throw if a weight of a mask is not in [0, 1].
inline void check_mask(std::span<const float> values) {
  for (const float value : values)
    if (!(value >= 0 && value <= 1)) fail(Code::invalid_value, "the mask must have weights in [0, 1], got ", value);
}

/// One number for each of `batch` entries, from a single number or one for each entry.
inline std::vector<float> per_entry(const std::string& name, std::span<const float> values, std::int64_t batch) {
  if (values.size() != 1 && static_cast<std::int64_t>(values.size()) != batch)
    fail(Code::invalid_shape, name, " must be one number or one for each of the ", batch, " entries, got ",
         values.size());
  check_positive(name, values);
  if (values.size() == 1) return std::vector<float>(static_cast<std::size_t>(batch), values[0]);
  return {values.begin(), values.end()};
}

/// The weight lambda for each noise level, by the rule of the prior.
inline std::vector<float> default_weights(const Metadata& metadata, std::span<const float> sigmas) {
  if (!metadata.weight_rule)
    fail(Code::invalid_argument, "the prior has no tuned weight for ", metadata.task, ": give a weight");
  std::vector<float> weights;
  for (const float sigma : sigmas) weights.push_back(static_cast<float>((*metadata.weight_rule)(sigma)));
  check_positive("the weight that the prior's rule gives", weights);
  return weights;
}

/// A PSF in the form that the artefact needs: divided by its sum, and padded with zeros around its centre (height/2,
/// width/2).
///
/// `values` is [height, width] in row-major order. Throws `Error` if it is larger than the port, negative, not finite,
/// or has no positive sum.
inline std::vector<float> prepare_psf(const Port& port, std::span<const float> values, std::int64_t height,
                                      std::int64_t width) {
  const std::int64_t rows = port.shape[0].maximum, columns = port.shape[1].maximum;
  if (height < 1 || width < 1 || height > rows || width > columns)
    fail(Code::invalid_shape, "the PSF must have between 1 x 1 and ", rows, " x ", columns, " pixels, got ", height,
         " x ", width);
  double sum = 0;
  for (const float value : values) {
    if (!(value >= 0) || !std::isfinite(value))
      fail(Code::invalid_value, "the PSF must be finite and nowhere negative, got ", value);
    sum += value;
  }
  if (!(sum > 0)) fail(Code::invalid_value, "the PSF must have a positive sum, got ", sum);
  std::vector<float> result(static_cast<std::size_t>(rows * columns), 0.0F);
  const std::int64_t top = rows / 2 - height / 2, left = columns / 2 - width / 2;
  for (std::int64_t i = 0; i < height; ++i)
    for (std::int64_t j = 0; j < width; ++j)
      result[static_cast<std::size_t>((top + i) * columns + left + j)] =
          static_cast<float>(values[static_cast<std::size_t>(i * width + j)] / sum);
  return result;
}

}  // namespace fastreg::detail
