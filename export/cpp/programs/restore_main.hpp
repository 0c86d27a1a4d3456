// What the programs that restore a PNG have in common: arguments, files, channels.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fastreg/metadata.hpp"
#include "options.hpp"

namespace fastreg::programs {

/// One call of an artefact, as dense arrays.
struct Job {
  std::array<std::int64_t, 4> shape{};   ///< [batch, channels, height, width] of y
  std::array<std::int64_t, 4> result{};  ///< the same of x: larger where the blur has the boundary rule valid
  std::vector<float> y;
  double sigma = 0;
  std::optional<double> weight;
  std::array<std::int64_t, 2> psf_shape{};
  std::vector<float> psf;   ///< [height, width], or empty
  std::vector<float> mask;  ///< [batch, 1, height, width], or empty
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
