// What the programs that restore a PNG have in common: arguments, files, channels.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fastreg/metadata.hpp"
#include "options.hpp"

namespace fastreg::programs {

/// A dense array, row by row.
struct Array {
  std::vector<float> values;
  std::vector<std::int64_t> shape;
};

/// One call of an artefact, as dense arrays.
struct Job {
  std::array<std::int64_t, 4> shape{};   ///< [batch, channels, height, width] of y
  std::array<std::int64_t, 4> result{};  ///< the same of x
  std::vector<float> y;
  double sigma = 0;
  std::optional<double> weight;
  std::map<std::string, Array> inputs;  ///< what else the artefact takes, by the names in its metadata
};

/// A loaded artefact.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const Metadata& metadata() const = 0;
  /// The restored images, in the shape `job.result`; throws `Error`.
  virtual std::vector<float> run(const Job& job) = 0;
};

/// Loads an artefact, with what the options say.
using Open = std::function<std::unique_ptr<Backend>(const std::string& path, const Options& options)>;

/// What a program is called, and the options that it alone has.
struct Program {
  std::string name;
  std::vector<std::string> options = {};
  std::string usage = "";  ///< one line for each of these
};

/// Run a program. Returns the exit code: 0, 1 where the image failed, 2 for misuse.
int restore_main(int count, char** arguments, const Program& program, const Open& open);

}  // namespace fastreg::programs
