/// Reading two-dimensional arrays from .npy files of numpy.save.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <stdexcept>
#include <string>
#include <vector>

#include "restore_main.hpp"

namespace fastreg::programs {

/// Values of an array [height, width] of floating point numbers or bytes, as float32.
inline Array read_npy(const std::string& path) {
  const auto refuse = [&](const std::string& why) { throw std::runtime_error("cannot read " + path + ": " + why); };
  std::ifstream stream(path, std::ios::binary);
  if (!stream) refuse("there is no such file");
  const std::string data{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  const auto byte = [&](std::size_t k) { return static_cast<std::size_t>(static_cast<unsigned char>(data[k])); };
  if (data.size() < 12 || data.compare(0, 6, "\x93NUMPY") != 0) refuse("it is not a .npy file");
  const bool first = byte(6) == 1;  // the size of the following number depends on the version
  const std::size_t start = first ? 10 : 12;
  const std::size_t length = byte(8) | byte(9) << 8 | (first ? 0 : byte(10) << 16 | byte(11) << 24);
  if (data.size() - start < length) refuse("it is cut off");
  const std::string header = data.substr(start, length);
  std::smatch dtype, order, shape;
  if (!std::regex_search(header, dtype, std::regex("'descr': '([^']*)'")) ||
      !std::regex_search(header, order, std::regex("'fortran_order': (True|False)")) ||
      !std::regex_search(header, shape, std::regex("'shape': \\((\\d{1,5}), (\\d{1,5})\\)")))
    refuse("expected an array [height, width] of numbers");
  const bool doubles = dtype[1] == "<f8", bytes = dtype[1] == "|u1";
  if (!doubles && !bytes && dtype[1] != "<f4") refuse("its values are " + dtype.str(1) + ", expected <f4, <f8 or |u1");
  const std::int64_t height = std::stoll(shape[1]), width = std::stoll(shape[2]);
  const std::size_t count = static_cast<std::size_t>(height * width), size = doubles ? 8 : bytes ? 1 : 4;
  if ((data.size() - start - length) / size != count) refuse("it does not have the values that its header says");
  Array result{std::vector<float>(count), {height, width}};
  for (std::int64_t i = 0; i < height; ++i)
    for (std::int64_t j = 0; j < width; ++j) {
      const std::size_t k = static_cast<std::size_t>(order[1] == "True" ? j * height + i : i * width + j);
      const char* const place = data.data() + start + length + k * size;
      float& value = result.values[static_cast<std::size_t>(i * width + j)];
      double wide = 0;
      if (doubles) std::memcpy(&wide, place, sizeof wide);
      if (size == 4) std::memcpy(&value, place, sizeof value);
      if (size != 4)
        value = doubles ? static_cast<float>(wide) : static_cast<float>(static_cast<unsigned char>(*place));
    }
  return result;
}

}  // namespace fastreg::programs
