// Arguments, files and channels, for the programs that restore a PNG.
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

/// A dense row-major array.
struct Array {
  std::vector<float> values;
  std::vector<std::int64_t> shape;
};

/// The arguments of a call of an artefact, as dense arrays.
struct Job {
  std::array<std::int64_t, 4> shape{};   ///< [batch, channels, height, width] of y
  std::array<std::int64_t, 4> result{};  ///< shape of x
  std::vector<float> y;
  double sigma = 0;
  std::optional<double> weight;
  std::map<std::string, Array> inputs;  ///< other inputs, by the names in the metadata
};

/// A loaded artefact.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const Metadata& metadata() const = 0;
  /// The restored images, in the shape `job.result`; throws `Error`.
  virtual std::vector<float> run(const Job& job) = 0;
};

/// Loads an artefact according to the options.
using Open = std::function<std::unique_ptr<Backend>(const std::string& path, const Options& options)>;

/// Name and specific options of a program.
struct Program {
  std::string name;
  std::vector<std::string> options = {};
  std::string usage = "";  ///< one line for each option
};

/// Run a program. Returns the exit code: 0, 1 if the image failed, 2 for wrong usage.
int restore_main(int count, char** arguments, const Program& program, const Open& open);

}  // namespace fastreg::programs
