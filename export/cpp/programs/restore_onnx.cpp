// Restores a PNG with an artefact of one of the ONNX formats, through ONNX Runtime.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fastreg_onnx.hpp"
#include "fastreg_onnx_step.hpp"
#include "restore_main.hpp"

namespace fastreg::programs {
namespace {

/// `OnnxRestorer` or `OnnxStepRestorer`, which are called in the same way.
template <typename Restorer>
class OnnxBackend final : public Backend {
 public:
  OnnxBackend(const std::string& path, const OnnxOptions& options) : restorer_(path, options) {}

  const Metadata& metadata() const override { return restorer_.metadata(); }

  std::vector<float> run(const Job& job) override {
    const auto sigma = static_cast<float>(job.sigma);
    const auto weight = static_cast<float>(job.weight.value_or(0));
    OnnxCall call{.y = job.y, .shape = job.shape, .sigma = {&sigma, 1}};
    if (job.weight) call.weight = {&weight, 1};
    for (const auto& [name, array] : job.inputs) call.inputs[name] = {array.values, array.shape};
    return restorer_(call);
  }

 private:
  Restorer restorer_;
};

std::unique_ptr<Backend> open(const std::string& path, const Options& given) {
  OnnxOptions options{.device = given.get("device")};
  if (given.values.count("threads") != 0)
    options.threads = static_cast<int>(parse_count("threads", given.get("threads")));
  if (std::filesystem::is_directory(path)) return std::make_unique<OnnxBackend<OnnxStepRestorer>>(path, options);
  return std::make_unique<OnnxBackend<OnnxRestorer>>(path, options);
}

}  // namespace
}  // namespace fastreg::programs

int main(int count, char** arguments) {
  const fastreg::programs::Program program{
      .name = "restore_onnx",
      .options = {"device", "threads"},
      .usage =
          "  --device D     cpu or cuda; by default what the artefact was made for\n"
          "  --threads N    threads of an operation; by default ONNX Runtime's own choice\n"};
  return fastreg::programs::restore_main(count, arguments, program, fastreg::programs::open);
}
