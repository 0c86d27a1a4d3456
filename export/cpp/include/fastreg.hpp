// fastreg in C++: restore images with an artefact that `fastreg export --format aoti` wrote.
//
//     fastreg::Restorer restorer("deblur.pt2");
//     at::Tensor x = restorer(y, 0.1, {{"psf", psf}});
//
// Header only; link with libtorch (target fastreg::fastreg). For C, and for other languages, see fastreg.h.
#pragma once

#include <ATen/Context.h>
#include <ATen/Tensor.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/view_as_real.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fastreg/archive.hpp"
#include "fastreg/checks.hpp"
#include "fastreg/error.hpp"
#include "fastreg/machine.hpp"
#include "fastreg/metadata.hpp"
#include "fastreg/version.h"

namespace fastreg {

namespace detail {

/// Allows or forbids tf32 in cuDNN during its lifetime. Packages follow this setting of the process; torch's default is
/// on.
class TensorFloat {
 public:
  explicit TensorFloat(const Metadata& metadata) : active_(metadata.device == "cuda") {
    if (!active_) return;
    before_ = at::globalContext().allowTF32CuDNN();
    at::globalContext().setAllowTF32CuDNN(metadata.precision == "tf32");
  }
  TensorFloat(const TensorFloat&) = delete;
  TensorFloat& operator=(const TensorFloat&) = delete;
  ~TensorFloat() {
    if (active_) at::globalContext().setAllowTF32CuDNN(before_);
  }

 private:
  bool active_, before_ = false;
};

}  // namespace detail

/// A noise level or a weight: one number for all entries of a batch, or one for each.
///
/// A number, a vector, or a floating-point tensor of at most one dimension. Throws `Error` (invalid_type,
/// invalid_shape).
class PerEntry {
 public:
  PerEntry(double value) : values_{static_cast<float>(value)} {}
  PerEntry(std::vector<float> values) : values_(std::move(values)) {}
  PerEntry(const at::Tensor& values) {
    if (!values.defined() || !values.is_floating_point())
      detail::fail(Code::invalid_type, "sigma and weight must be numbers, or tensors of floating-point numbers");
    if (values.dim() > 1)
      detail::fail(Code::invalid_shape, "sigma and weight must be numbers, or tensors [B], got ",
                   detail::to_text(values.sizes()));
    const at::Tensor flat = values.detach().to(at::kCPU, at::kFloat).contiguous();
    values_.assign(flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel());
  }

  std::span<const float> values() const { return values_; }

 private:
  std::vector<float> values_;
};

/// Inputs of an artefact in addition to the observation and its noise level, by the names in its metadata.
///
/// A PSF is [height, width], at most of the size in the metadata, and is divided by its sum. A mask is [B, 1, H, W] in
/// [0, 1]: one where a pixel was measured, zero where it is missing.
using Inputs = std::map<std::string, at::Tensor>;

/// A restoration, loaded from a file: movable, not copyable.
///
/// Several threads may call one object; up to `concurrency` calls run at the same time, and the others wait. On CUDA a
/// call changes the tf32 setting of the process to the precision of the artefact: threads must not mix precisions.
class Restorer {
 public:
  /// Load an artefact. Loading runs machine code from the file: load only what you trust.
  ///
  /// `concurrency` is the number of calls that can run at the same time; each needs its own memory.
  /// Throws `Error`: invalid_file if the file is missing, truncated, damaged or of another kind, unsupported if it was
  /// made for another version, format or machine, invalid_argument for a concurrency below one.
  explicit Restorer(const std::string& path, int concurrency = 1) {
    if (concurrency < 1) detail::fail(Code::invalid_argument, "concurrency must be at least 1, got ", concurrency);
    detail::Archive(path).check();
    // the loader of torch reads the metadata into a static object
    static std::mutex loading;
    const std::lock_guard<std::mutex> lock(loading);
    guarded(Code::invalid_file, path + " cannot be loaded by libtorch " TORCH_VERSION ": ", [&] {
      const auto facts = Loader::load_metadata_from_package(path, "model");
      const auto found = facts.find("fastreg");
      if (found == facts.end())
        detail::fail(Code::invalid_file, path, " holds a compiled model that fastreg did not export");
      metadata_ = parse_metadata(found->second);
      if (metadata_.format != "aoti")
        detail::fail(Code::unsupported, "the artefact has the format ", metadata_.format, ", expected aoti");
      if (metadata_.device != "cpu" && !(metadata_.device == "cuda" && at::hasCUDA()))
        detail::fail(Code::unsupported, "the artefact runs on ", metadata_.device,
                     ", which this libtorch does not offer");
      detail::check_machine(facts);
      loader_ = std::make_unique<Loader>(path, "model", false, static_cast<std::size_t>(concurrency));
    });
  }

  /// The metadata of the artefact.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// Restore a batch of observations.
  ///
  /// `y` is float32 [B, C, H, W] on the device of the artefact, with any strides (it is copied unless it is
  /// contiguous); complex measurements are complex64, or float32 [B, C, H, W, 2]. `sigma` is the standard deviation of
  /// the noise in units of [0, 1], below 1. `weight` is lambda; without it, the rule of the prior is used. Returns x
  /// [B, C, H, W], contiguous and not clipped.
  ///
  /// Throws `Error`: invalid_type, invalid_device, invalid_shape, invalid_value if an input does not fit the
  /// metadata, invalid_argument if one is missing or not taken, internal where libtorch fails.
  at::Tensor operator()(const at::Tensor& y, const PerEntry& sigma, const Inputs& given = {},
                        const std::optional<PerEntry>& weight = {}) const {
    if (!loader_) detail::fail(Code::invalid_state, "this restorer was moved from");
    at::Tensor x;
    guarded(Code::internal, "libtorch failed: ", [&] {
      const c10::NoGradGuard no_gradients;
      const detail::TensorFloat precision(metadata_);
      detail::Sizes sizes;
      std::vector<at::Tensor> inputs = arrange(y, sigma, given, weight, sizes);
      std::vector<at::Tensor> outputs = loader_->boxed_run(std::move(inputs));
      if (outputs.size() != 1)
        detail::fail(Code::internal, "the artefact gave ", outputs.size(), " outputs, expected 1");
      check_tensor(metadata_.output, outputs[0], sizes);
      x = outputs[0].contiguous();
    });
    return x;
  }

 private:
  using Loader = torch::inductor::AOTIModelPackageLoader;

  /// Call a function, and convert exceptions of torch to `Error`.
  template <typename Function>
  static void guarded(Code code, const std::string& prefix, const Function& function) {
    try {
      function();
    } catch (const Error&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw Error(Code::out_of_memory, "there is not enough memory");
    } catch (const c10::Error& error) {
      throw Error(code, prefix + detail::first_line(error.what_without_backtrace()));
    } catch (const std::exception& error) {
      throw Error(code, prefix + detail::first_line(error.what()));
    }
  }

  at::Device device() const { return at::Device(metadata_.device == "cuda" ? at::kCUDA : at::kCPU); }

  void check_tensor(const Port& port, const at::Tensor& tensor, detail::Sizes& sizes) const {
    if (!tensor.defined()) detail::fail(Code::invalid_argument, port.name, " is an undefined tensor");
    if (tensor.layout() != at::kStrided)
      detail::fail(Code::invalid_type, port.name, " must be a dense tensor, got a sparse one");
    if (tensor.scalar_type() != at::kFloat)
      detail::fail(Code::invalid_type, port.name, " must be a tensor of float32, got ",
                   at::toString(tensor.scalar_type()));
    if (tensor.device().type() != device().type())
      detail::fail(Code::invalid_device, port.name, " must be on ", metadata_.device, ", got ", tensor.device().str());
    detail::check_shape(port, tensor.sizes(), sizes);
  }

  /// The values of a contiguous tensor on the CPU.
  static std::span<const float> values(const at::Tensor& tensor) {
    return {tensor.const_data_ptr<float>(), static_cast<std::size_t>(tensor.numel())};
  }

  at::Tensor vector(const std::vector<float>& values) const {
    return at::tensor(at::ArrayRef<float>(values), at::kFloat).to(device());
  }

  /// All inputs, checked, contiguous and in the order of the artefact.
  std::vector<at::Tensor> arrange(const at::Tensor& y, const PerEntry& sigma, const Inputs& given,
                                  const std::optional<PerEntry>& weight, detail::Sizes& sizes) const {
    for (const auto& [name, tensor] : given)
      if (const Port& port = metadata_.at(name); port.content != "psf" && port.content != "mask")
        detail::fail(Code::invalid_argument, name, " is an argument of its own");
    const Port& measured = metadata_.at("y");
    const bool is_complex = measured.is_complex() && y.defined() && y.is_complex();
    const at::Tensor observation =
        is_complex && y.scalar_type() == at::kComplexFloat ? at::view_as_real(y.resolve_conj()) : y;
    check_tensor(measured, observation, sizes);
    const std::vector<float> sigmas = detail::per_entry("sigma", sigma.values(), y.size(0));
    const std::vector<float> weights =
        weight ? detail::per_entry("weight", weight->values(), y.size(0)) : detail::default_weights(metadata_, sigmas);
    const auto find = [&](const Port& port) {
      const auto found = given.find(port.name);
      return found == given.end() ? at::Tensor() : found->second;
    };
    std::vector<at::Tensor> inputs;
    for (const Port& port : metadata_.inputs) {
      if (port.content == "noise level") inputs.push_back(vector(sigmas));
      if (port.content == "weight") inputs.push_back(vector(weights));
      if (port.content == "measurement") inputs.push_back(image(port, observation, sizes));
      if (port.content == "mask") inputs.push_back(image(port, find(port), sizes));
      if (port.content == "psf") inputs.push_back(psf(port, find(port)));
    }
    return inputs;
  }

  at::Tensor image(const Port& port, const at::Tensor& tensor, detail::Sizes& sizes) const {
    if (!tensor.defined()) detail::fail(Code::invalid_argument, "this artefact needs a ", port.name);
    check_tensor(port, tensor, sizes);
    at::Tensor result = tensor.detach().contiguous();
    const bool is_mask = port.content == "mask";
    if (result.is_cpu()) {
      is_mask ? detail::check_mask(values(result)) : detail::check_observations(port, values(result));
    } else if (!is_mask) {
      // copies one number from the GPU
      const float largest = result.abs().max().item<float>();
      detail::check_observations(port, std::span(&largest, 1));
    } else if (!result.ge(0).logical_and(result.le(1)).all().item<bool>()) {
      detail::fail(Code::invalid_value, "the mask must have weights in [0, 1], got others");
    }
    return result;
  }

  at::Tensor psf(const Port& port, const at::Tensor& tensor) const {
    if (!tensor.defined()) detail::fail(Code::invalid_argument, "this artefact needs a ", port.name);
    if (tensor.scalar_type() != at::kFloat)
      detail::fail(Code::invalid_type, "psf must be a tensor of float32, got ", at::toString(tensor.scalar_type()));
    if (tensor.dim() != 2)
      detail::fail(Code::invalid_shape, "psf must have 2 dimensions, [height, width], got ",
                   detail::to_text(tensor.sizes()));
    const at::Tensor host = tensor.detach().cpu().contiguous();
    return vector(detail::prepare_psf(port, values(host), host.size(0), host.size(1)))
        .reshape({port.shape[0].maximum, port.shape[1].maximum});
  }

  Metadata metadata_;
  std::unique_ptr<Loader> loader_;
};

}  // namespace fastreg
