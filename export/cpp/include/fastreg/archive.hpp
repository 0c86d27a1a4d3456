// Integrity check of AOTInductor packages.
//
// libtorch does not verify the checksums in a package, which contains machine code, and does not report what is wrong
// with a damaged file. So the archive is checked before it is given to libtorch.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "fastreg/error.hpp"

namespace fastreg::detail {

/// A ZIP archive of uncompressed entries; only what the check needs is read.
class Archive {
 public:
  explicit Archive(const std::string& path) : path_(path) {
    std::error_code error;
    const auto status = std::filesystem::status(path, error);
    if (!std::filesystem::exists(status)) fail(Code::invalid_file, "there is no file ", path);
    if (!std::filesystem::is_regular_file(status)) fail(Code::invalid_file, path, " is not a file");
    size_ = std::filesystem::file_size(path, error);
    file_.open(path, std::ios::binary);
    if (error || !file_) fail(Code::invalid_file, path, " cannot be opened for reading");
  }

  /// Throw `Error` (invalid_file) unless every entry is complete and one of them is the library of a model.
  void check() {
    if (size_ < 4 || number(read(0, 4), 0, 4) != local_header)
      fail(Code::invalid_file, path_, " is not a .pt2 artefact: it is no ZIP archive");
    bool has_model = false;
    const Directory directory = find_directory();
    std::uint64_t at = directory.offset;
    for (std::uint64_t k = 0; k < directory.entries; ++k) {
      const Bytes header = read(at, 46);
      if (number(header, 0, 4) != central_header) damaged("its directory is broken");
      const std::uint64_t name_size = number(header, 28, 2), extra_size = number(header, 30, 2);
      const Bytes tail = read(at + 46, name_size + extra_size);
      const std::string name(tail.begin(), tail.begin() + static_cast<std::ptrdiff_t>(name_size));
      check_entry(header, Bytes(tail.begin() + static_cast<std::ptrdiff_t>(name_size), tail.end()), name);
      has_model |= name.find("data/aotinductor/") != std::string::npos && name.ends_with(".so");
      at += 46 + name_size + extra_size + number(header, 32, 2);
    }
    if (!has_model)
      fail(Code::invalid_file, path_, " is not a .pt2 artefact: it is an archive without a compiled model");
  }

 private:
  using Bytes = std::vector<unsigned char>;
  struct Directory {
    std::uint64_t offset, entries;
  };

  static constexpr std::uint64_t local_header = 0x04034b50, central_header = 0x02014b50, end_header = 0x06054b50,
                                 large_end_header = 0x06064b50, large_locator = 0x07064b50, unset = 0xffffffff;

  [[noreturn]] void damaged(const std::string& why) const {
    fail(Code::invalid_file, path_, " is truncated or damaged: ", why);
  }

  static std::uint64_t number(const Bytes& bytes, std::size_t at, std::size_t width) {
    std::uint64_t result = 0;
    for (std::size_t k = width; k-- > 0;) result = result << 8 | bytes.at(at + k);
    return result;
  }

  Bytes read(std::uint64_t at, std::uint64_t count) {
    if (at > size_ || count > size_ - at) damaged("it ends too early");
    Bytes bytes(count);
    file_.clear();
    file_.seekg(static_cast<std::streamoff>(at));
    file_.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(count));
    if (static_cast<std::uint64_t>(file_.gcount()) != count) damaged("it cannot be read to its end");
    return bytes;
  }

  /// Position of the directory, from the record at the end of the file or the 64-bit record before it.
  Directory find_directory() {
    const std::uint64_t reach = std::min<std::uint64_t>(size_, 22 + 65535);
    const Bytes tail = read(size_ - reach, reach);
    for (std::uint64_t back = 22; back <= reach; ++back) {
      const std::size_t at = reach - back;
      if (number(tail, at, 4) != end_header) continue;
      const std::uint64_t end = size_ - back;
      if (end >= 20) {
        const Bytes locator = read(end - 20, 20);
        if (number(locator, 0, 4) == large_locator) {
          const Bytes record = read(number(locator, 8, 8), 56);
          if (number(record, 0, 4) != large_end_header) damaged("its directory is broken");
          return {number(record, 48, 8), number(record, 32, 8)};
        }
      }
      return {number(tail, at + 16, 4), number(tail, at + 10, 2)};
    }
    damaged("its directory is missing");
  }

  /// Compare an entry with its checksum. Torch does not compress entries, so a compressed one was not written by it.
  void check_entry(const Bytes& header, const Bytes& extra, const std::string& name) {
    std::uint64_t length = number(header, 24, 4), offset = number(header, 42, 4);
    if (number(header, 10, 2) != 0)
      fail(Code::invalid_file, path_, " is not a .pt2 artefact: its entry ", name, " is compressed");
    for (std::size_t at = 0; at + 4 <= extra.size(); at += 4 + number(extra, at + 2, 2)) {
      if (number(extra, at, 2) != 1)
        continue;  // 64-bit sizes, in this order, each present only if the short one is unset
      std::size_t next = at + 4;
      const std::size_t last = std::min<std::size_t>(extra.size(), next + number(extra, at + 2, 2));
      const auto take = [&](std::uint64_t& value) {
        if (value == unset && next + 8 <= last) value = number(extra, next, 8), next += 8;
      };
      std::uint64_t compressed = number(header, 20, 4);
      take(length), take(compressed), take(offset);
    }
    const Bytes local = read(offset, 30);
    if (number(local, 0, 4) != local_header) damaged("its entry " + name + " is misplaced");
    std::uint64_t at = offset + 30 + number(local, 26, 2) + number(local, 28, 2);
    std::uint32_t checksum = 0xffffffff;
    for (std::uint64_t left = length; left > 0;) {
      const Bytes block = read(at, std::min<std::uint64_t>(left, 1 << 20));
      for (const unsigned char byte : block) checksum = table()[(checksum ^ byte) & 0xff] ^ (checksum >> 8);
      at += block.size(), left -= block.size();
    }
    if ((checksum ^ 0xffffffff) != number(header, 16, 4)) damaged("the checksum of " + name + " is wrong");
  }

  /// CRC-32 (polynomial 0xedb88320) of every byte.
  static const std::array<std::uint32_t, 256>& table() {
    static const auto values = [] {
      std::array<std::uint32_t, 256> result{};
      for (std::uint32_t k = 0; k < 256; ++k) {
        std::uint32_t value = k;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320U : 0U);
        result[k] = value;
      }
      return result;
    }();
    return values;
  }

  std::string path_;
  std::uint64_t size_ = 0;
  std::ifstream file_;
};

}  // namespace fastreg::detail
