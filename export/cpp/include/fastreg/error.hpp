// The exception type: a code and a message.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace fastreg {

/// Kinds of failure, with the numbers of `fastreg_status` in fastreg.h.
enum class Code {
  invalid_argument = 1,  ///< a null pointer, an unknown name, an input that this artefact does not have
  invalid_state = 2,     ///< a call out of order, such as execute before commit
  invalid_type = 3,      ///< an element type other than float32
  invalid_shape = 4,     ///< dimensions, channels, sizes or strides that do not fit
  invalid_value = 5,     ///< NaN, a noise level that is not positive, a negative PSF
  invalid_device = 6,    ///< a tensor on a device other than that of the artefact
  invalid_file = 7,      ///< missing, truncated, damaged, or not a fastreg artefact
  unsupported = 8,       ///< an artefact for another version, format or machine
  out_of_memory = 9,     ///< no memory left
  internal = 10,         ///< a failure inside libtorch or ONNX Runtime
};

/// The only exception that fastreg throws: `code()` for programs, and `what()`, one sentence, for people.
class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}

  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

namespace detail {

/// Throw an `Error` with the concatenated arguments as its message.
template <typename... Parts>
[[noreturn]] void fail(Code code, Parts&&... parts) {
  std::ostringstream sentence;
  (sentence << ... << std::forward<Parts>(parts));
  throw Error(code, sentence.str());
}

/// The first line of a message, without the call stack that libtorch appends.
inline std::string first_line(const std::string& message) { return message.substr(0, message.find('\n')); }

}  // namespace detail
}  // namespace fastreg
