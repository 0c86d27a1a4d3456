// A strict JSON parser for the metadata of artefacts, safe for malicious input.
#pragma once

#include <charconv>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "fastreg/error.hpp"

namespace fastreg::json {

struct Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value, std::less<>>;

/// A JSON value. The accessors throw `Error` (invalid_file) if it is of another kind.
struct Value {
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> data = nullptr;

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(data); }
  bool is_string() const { return std::holds_alternative<std::string>(data); }
  double number() const { return get<double>("a number"); }
  const std::string& string() const { return get<std::string>("a string"); }
  const Array& array() const { return get<Array>("an array"); }
  const Object& object() const { return get<Object>("an object"); }

  /// An integer of at most 53 bits.
  std::int64_t integer() const {
    const double value = number();
    const double limit = 9007199254740992.0;
    if (!(value >= -limit && value <= limit) || value != static_cast<double>(static_cast<std::int64_t>(value)))
      detail::fail(Code::invalid_file, "the metadata have ", value, " where a whole number is expected");
    return static_cast<std::int64_t>(value);
  }

  /// The entry of an object, or null if it is absent.
  const Value* find(std::string_view key) const {
    const Object& entries = object();
    const auto found = entries.find(key);
    return found == entries.end() || found->second.is_null() ? nullptr : &found->second;
  }

  /// The entry of an object.
  const Value& at(std::string_view key) const {
    const Value* found = find(key);
    if (found == nullptr) detail::fail(Code::invalid_file, "the metadata lack the entry \"", key, "\"");
    return *found;
  }

 private:
  template <typename Kind>
  const Kind& get(const char* kind) const {
    const Kind* value = std::get_if<Kind>(&data);
    if (value == nullptr) detail::fail(Code::invalid_file, "the metadata have another value where ", kind, " belongs");
    return *value;
  }
};

/// Parser of one document; use `parse`.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Value document() {
    Value result = value(0);
    space();
    if (at_ != text_.size()) wrong();
    return result;
  }

 private:
  static constexpr int max_depth = 64;  // deeper text would exhaust the stack

  [[noreturn]] void wrong() const {
    detail::fail(Code::invalid_file, "the metadata are not valid JSON at character ", at_);
  }

  void space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos) ++at_;
  }

  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  void expect(std::string_view word) {
    space();
    if (!take(word)) wrong();
  }

  Value value(int depth) {
    if (depth > max_depth) wrong();
    space();
    if (take("null")) return {};
    if (take("true")) return {true};
    if (take("false")) return {false};
    if (take("{")) return {object(depth)};
    if (take("[")) return {array(depth)};
    if (take("\"")) return {string()};
    return {number()};
  }

  Object object(int depth) {
    Object result;
    space();
    if (take("}")) return result;
    do {
      expect("\"");
      std::string key = string();
      expect(":");
      result.insert_or_assign(std::move(key), value(depth + 1));
      space();
    } while (take(","));
    expect("}");
    return result;
  }

  Array array(int depth) {
    Array result;
    space();
    if (take("]")) return result;
    do {
      result.push_back(value(depth + 1));
      space();
    } while (take(","));
    expect("]");
    return result;
  }

  double number() {
    double result = 0;
    const char* begin = text_.data() + at_;
    const char* end = text_.data() + text_.size();
    if (begin == end || !(*begin == '-' || (*begin >= '0' && *begin <= '9'))) wrong();
    const auto [last, error] = std::from_chars(begin, end, result);
    if (error != std::errc()) wrong();
    at_ += static_cast<std::size_t>(last - begin);
    return result;
  }

  std::string string() {
    std::string result;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] != '\\') {
        result += text_[at_++];
        continue;
      }
      if (++at_ == text_.size()) wrong();
      const char escape = text_[at_++];
      const std::string_view from = "\"\\/bfnrt";
      const std::string_view to = "\"\\/\b\f\n\r\t";
      if (const auto index = from.find(escape); index != std::string_view::npos) {
        result += to[index];
      } else if (escape == 'u') {
        append(result, code_point());
      } else {
        wrong();
      }
    }
    if (!take("\"")) wrong();
    return result;
  }

  std::uint32_t hexadecimal() {
    std::uint32_t result = 0;
    if (text_.size() - at_ < 4) wrong();
    const char* begin = text_.data() + at_;
    const auto [last, error] = std::from_chars(begin, begin + 4, result, 16);
    if (error != std::errc() || last != begin + 4) wrong();
    at_ += 4;
    return result;
  }

  std::uint32_t code_point() {
    const std::uint32_t high = hexadecimal();
    if (high < 0xD800 || high > 0xDFFF) return high;
    if (high > 0xDBFF || !take("\\u")) wrong();
    const std::uint32_t low = hexadecimal();
    if (low < 0xDC00 || low > 0xDFFF) wrong();
    return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
  }

  static void append(std::string& text, std::uint32_t point) {
    const auto tail = [&](int shift) { text += static_cast<char>(0x80 | ((point >> shift) & 0x3F)); };
    if (point < 0x80) {
      text += static_cast<char>(point);
    } else if (point < 0x800) {
      text += static_cast<char>(0xC0 | (point >> 6));
      tail(0);
    } else if (point < 0x10000) {
      text += static_cast<char>(0xE0 | (point >> 12));
      tail(6), tail(0);
    } else {
      text += static_cast<char>(0xF0 | (point >> 18));
      tail(12), tail(6), tail(0);
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// Parse a document; throws `Error` (invalid_file) if it is not JSON.
inline Value parse(std::string_view text) { return Parser(text).document(); }

}  // namespace fastreg::json
