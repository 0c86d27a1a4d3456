// Restores a PNG with a .pt2 artefact, through the C interface.
#include <memory>
#include <string>
#include <vector>

#include "fastreg.h"
#include "restore_main.hpp"

namespace fastreg::programs {
namespace {

class CompiledBackend final : public Backend {
 public:
  explicit CompiledBackend(const std::string& path) {
    fastreg_restorer* handle = nullptr;
    check(fastreg_open(path.c_str(), &handle));
    handle_.reset(handle);
    metadata_ = parse_metadata(fastreg_metadata(handle));
  }

  const Metadata& metadata() const override { return metadata_; }

  std::vector<float> run(const Job& job) override {
    const auto [batch, channels, height, width] = job.result;
    std::vector<float> x(static_cast<std::size_t>(batch * channels * height * width));
    check(fastreg_set_input(handle_.get(), "y", job.y.data(), job.shape.data(), nullptr, 4));
    check(fastreg_set_number(handle_.get(), "sigma", job.sigma));
    if (job.weight) check(fastreg_set_number(handle_.get(), "weight", *job.weight));
    for (const auto& [name, array] : job.inputs)
      check(fastreg_set_input(handle_.get(), name.c_str(), array.values.data(), array.shape.data(), nullptr,
                              static_cast<std::int32_t>(array.shape.size())));
    check(fastreg_set_output(handle_.get(), x.data(), job.result.data(), nullptr, 4));
    check(fastreg_commit(handle_.get()));
    check(fastreg_execute(handle_.get()));
    return x;
  }

 private:
  void check(fastreg_status status) const {
    if (status != FASTREG_OK) throw Error(static_cast<Code>(status), fastreg_last_error(handle_.get()));
  }

  struct Close {
    void operator()(fastreg_restorer* handle) const { fastreg_close(handle); }
  };
  std::unique_ptr<fastreg_restorer, Close> handle_;
  Metadata metadata_;
};

}  // namespace
}  // namespace fastreg::programs

int main(int count, char** arguments) {
  return fastreg::programs::restore_main(
      count, arguments, {.name = "restore"},
      [](const std::string& path, const auto&) { return std::make_unique<fastreg::programs::CompiledBackend>(path); });
}
