// Restores a PNG with an .onnx artefact, through ONNX Runtime.
#include <memory>
#include <string>
#include <vector>

#include "fastreg_onnx.hpp"
#include "restore_main.hpp"

namespace fastreg::programs {
namespace {

class OnnxBackend final : public Backend {
 public:
  explicit OnnxBackend(const std::string& path) : restorer_(path) {}

  const Metadata& metadata() const override { return restorer_.metadata(); }

  std::vector<float> run(const Job& job) override {
    const auto sigma = static_cast<float>(job.sigma);
    const auto weight = static_cast<float>(job.weight.value_or(0));
    OnnxCall call{.y = job.y, .shape = job.shape, .sigma = {&sigma, 1}};
    if (job.weight) call.weight = {&weight, 1};
    call.psf = job.psf;
    call.psf_shape = job.psf_shape;
    call.mask = job.mask;
    return restorer_(call);
  }

 private:
  OnnxRestorer restorer_;
};

}  // namespace
}  // namespace fastreg::programs

int main(int count, char** arguments) {
  return fastreg::programs::restore_main(count, arguments, "restore_onnx", [](const std::string& path) {
    return std::make_unique<fastreg::programs::OnnxBackend>(path);
  });
}
