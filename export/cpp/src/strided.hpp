// Arrays of floats with strides, for the C interface.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <vector>

#include "fastreg/checks.hpp"
#include "fastreg/error.hpp"

namespace fastreg::detail {

/// A view of memory of the caller: float for output, const float for input.
template <typename Element>
struct Strided {
  Element* data = nullptr;
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides;  ///< in elements

  std::int64_t count() const {
    std::int64_t result = 1;
    for (const std::int64_t size : shape) result *= size;
    return result;
  }

  /// Call `visit(element)` for every element, the last dimension fastest.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    visit_all(visit, 0, data);
  }

 private:
  template <typename Visit>
  void visit_all(Visit& visit, std::size_t axis, Element* at) const {
    if (axis == shape.size()) {
      visit(*at);
      return;
    }
    for (std::int64_t k = 0; k < shape[axis]; ++k) visit_all(visit, axis + 1, at + k * strides[axis]);
  }
};

/// A view with a checked shape; throws `Error` (invalid_argument, invalid_shape) for null pointers, sizes below one,
/// more than five dimensions, or offsets that exceed 64 bits.
template <typename Element>
Strided<Element> make_strided(const std::string& name, Element* data, const std::int64_t* shape,
                              const std::int64_t* strides, std::int32_t dimensions) {
  if (data == nullptr) fail(Code::invalid_argument, "the data of ", name, " are a null pointer");
  if (dimensions < 0 || dimensions > 5)
    fail(Code::invalid_shape, name, " must have between 0 and 5 dimensions, got ", dimensions);
  if (shape == nullptr && dimensions > 0) fail(Code::invalid_argument, "the shape of ", name, " is a null pointer");
  Strided<Element> view{data, std::vector<std::int64_t>(shape, shape + dimensions),
                        std::vector<std::int64_t>(static_cast<std::size_t>(dimensions), 1)};
  // elements may be up to 2^59 from the first one: in bytes and summed over five dimensions this fits in 64 bits
  constexpr std::int64_t limit = std::int64_t{1} << 59;
  std::int64_t count = 1;
  for (std::size_t k = view.shape.size(); k-- > 0;) {
    if (view.shape[k] < 1) fail(Code::invalid_shape, name, " must have positive sizes, got ", to_text(view.shape));
    if (strides == nullptr)
      view.strides[k] = count;
    else
      view.strides[k] = strides[k];
    const std::int64_t stride = view.strides[k];
    const bool too_far = stride == std::numeric_limits<std::int64_t>::min() || std::abs(stride) > limit / view.shape[k];
    if (too_far || count > limit / view.shape[k])
      fail(Code::invalid_shape, name, " is too large to be in memory, got ", to_text(view.shape), " with strides ",
           to_text(view.strides));
    count *= view.shape[k];
  }
  return view;
}

/// Throw if elements of an output may overlap: strides must be nested.
inline void check_disjoint(const std::string& name, const Strided<float>& view) {
  std::vector<std::pair<std::int64_t, std::int64_t>> order;  // stride and size
  for (std::size_t k = 0; k < view.shape.size(); ++k)
    if (view.shape[k] > 1) order.emplace_back(std::abs(view.strides[k]), view.shape[k]);
  std::sort(order.begin(), order.end());
  std::int64_t extent = 1;
  for (const auto& [stride, size] : order) {
    if (stride < extent)
      fail(Code::invalid_shape, name, " must have strides by which no two elements meet, got ", to_text(view.strides),
           " for ", to_text(view.shape));
    extent += stride * (size - 1);
  }
}

}  // namespace fastreg::detail
