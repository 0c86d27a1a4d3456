// Command line arguments: positional ones first, then options --name VALUE or --name=VALUE.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fastreg::programs {

/// Wrong usage of a program, with a message; exit code 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Parsed arguments.
struct Options {
  std::vector<std::string> names;
  std::map<std::string, std::string> values;

  /// The value of an option, or a fallback.
  std::string get(const std::string& name, const std::string& fallback = "") const {
    const auto found = values.find(name);
    return found == values.end() ? fallback : found->second;
  }
};

/// Split arguments; throws `UsageError` for options that are not `known`.
inline Options parse_options(int count, char** arguments, const std::vector<std::string>& known) {
  Options options;
  for (int k = 1; k < count; ++k) {
    const std::string argument = arguments[k];
    if (argument.rfind("--", 0) != 0) {
      options.names.push_back(argument);
      continue;
    }
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw UsageError("there is no option --" + name + ", see --help");
    if (name == "help" || name == "version") {
      options.values[name] = "yes";
    } else if (equals != std::string::npos) {
      options.values[name] = argument.substr(equals + 1);
    } else if (++k < count) {
      options.values[name] = arguments[k];
    } else {
      throw UsageError("the option --" + name + " needs a value");
    }
  }
  return options;
}

/// A positive number.
inline double parse_number(const std::string& name, const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0) || !std::isfinite(value))
    throw UsageError(name + " must be a positive number, got \"" + text + "\"");
  return value;
}

/// A positive whole number.
inline std::int64_t parse_count(const std::string& name, const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > 1000000000)
    throw UsageError(name + " must be a positive whole number, got \"" + text + "\"");
  return value;
}

/// A noise level in units of [0, 1]: a number such as 0.1, or a quotient such as 25/255.
inline double parse_sigma(const std::string& text) {
  const std::size_t slash = text.find('/');
  double sigma = parse_number("sigma", text.substr(0, slash));
  if (slash != std::string::npos) sigma /= parse_number("sigma", text.substr(slash + 1));
  if (sigma >= 1) throw UsageError("sigma must be below 1, in units of [0, 1], got " + text);
  return sigma;
}

}  // namespace fastreg::programs
