// fastreg in C++ without libtorch: restore images with an artefact that `fastreg export --format onnx` wrote.
//
//     fastreg::OnnxRestorer restorer("deblur.onnx");
//     std::vector<float> x = restorer({.y = y, .shape = {1, 3, height, width}, .sigma = sigmas});
//
// Header only; link with ONNX Runtime. For whole solves (formats onnx and onnx-unrolled), on the CPU.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fastreg/checks.hpp"
#include "fastreg/error.hpp"
#include "fastreg/metadata.hpp"

namespace fastreg {

/// One call, as dense arrays of the caller, which are read during the call only.
struct OnnxCall {
  std::span<const float> y;             ///< [B, C, H, W] in [0, 1]
  std::array<std::int64_t, 4> shape{};  ///< B, C, H, W
  std::span<const float> sigma;         ///< one noise level, or one for each entry, in units of [0, 1]
  std::span<const float> weight = {};   ///< lambda likewise; empty: by the prior's rule
  std::span<const float> psf = {};      ///< [height, width], at most of the artefact's size; is divided by its sum
  std::array<std::int64_t, 2> psf_shape{};
  std::span<const float> mask = {};  ///< [B, 1, H, W] in [0, 1]
};

/// A restoration, loaded from a file into ONNX Runtime: movable, not copyable; several threads may call one object.
class OnnxRestorer {
 public:
  /// Load an artefact; `threads` of zero is ONNX Runtime's own choice.
  ///
  /// Throws `Error`: invalid_file where the file is missing or no fastreg artefact, unsupported for another format.
  explicit OnnxRestorer(const std::string& path, int threads = 0) : environment_(ORT_LOGGING_LEVEL_ERROR, "fastreg") {
    if (!std::filesystem::is_regular_file(path)) detail::fail(Code::invalid_file, "there is no file ", path);
    guarded(Code::invalid_file, path + " cannot be loaded by ONNX Runtime: ", [&] {
      Ort::SessionOptions options;
      options.SetGraphOptimizationLevel(GraphOptimizationLevel::ORT_ENABLE_ALL);
      options.SetIntraOpNumThreads(threads);
      session_ = Ort::Session(environment_, std::filesystem::path(path).c_str(), options);
      Ort::AllocatorWithDefaultOptions allocator;
      const auto text = session_.GetModelMetadata().LookupCustomMetadataMapAllocated("fastreg", allocator);
      if (!text) detail::fail(Code::invalid_file, path, " holds a model that fastreg did not export");
      metadata_ = parse_metadata(text.get());
    });
    if (metadata_.format != "onnx" && metadata_.format != "onnx-unrolled")
      detail::fail(Code::unsupported, "the artefact has the format ", metadata_.format,
                   ", expected onnx or onnx-unrolled");
  }

  /// What the artefact says of itself.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// Restore a batch of observations. Returns x [B, C, H, W], not clipped.
  ///
  /// Throws `Error`: invalid_shape, invalid_value where an input does not fit the metadata, invalid_argument where one
  /// is missing or not taken, internal where ONNX Runtime fails.
  std::vector<float> operator()(const OnnxCall& call) {
    detail::Sizes sizes;
    const std::vector<float> sigmas = begin(call, sizes);
    const std::vector<float> weights = call.weight.empty() ? detail::default_weights(metadata_, sigmas)
                                                           : detail::per_entry("weight", call.weight, call.shape[0]);
    std::vector<float> psf;
    if (const Port* port = metadata_.find("psf"))
      psf = detail::prepare_psf(*port, call.psf, call.psf_shape[0], call.psf_shape[1]);
    const std::array<std::int64_t, 4> mask_shape{call.shape[0], 1, call.shape[2], call.shape[3]};
    std::vector<float> x;
    guarded(Code::internal, "ONNX Runtime failed: ", [&] {
      std::vector<Ort::Value> values;
      std::vector<const char*> names;
      for (const Port& port : metadata_.inputs) {
        names.push_back(port.name.c_str());
        if (port.name == "y") values.push_back(tensor(call.y, call.shape));
        if (port.name == "mask") values.push_back(tensor(call.mask, mask_shape));
        if (port.name == "sigma") values.push_back(tensor(sigmas, std::array{call.shape[0]}));
        if (port.name == "weight") values.push_back(tensor(weights, std::array{call.shape[0]}));
        if (port.name == "psf") values.push_back(tensor(psf, std::array{port.shape[0].maximum, port.shape[1].maximum}));
      }
      const char* output = metadata_.output.name.c_str();
      const std::vector<Ort::Value> outputs =
          session_.Run(Ort::RunOptions(), names.data(), values.data(), values.size(), &output, 1);
      const auto information = outputs.at(0).GetTensorTypeAndShapeInfo();
      if (information.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
        detail::fail(Code::internal, "the artefact gave another type than float32");
      detail::check_shape(metadata_.output, information.GetShape(), sizes);
      const float* data = outputs[0].GetTensorData<float>();
      x.assign(data, data + information.GetElementCount());
    });
    return x;
  }

 private:
  /// Run something, and turn exceptions of ONNX Runtime into `Error`.
  template <typename Function>
  static void guarded(Code code, const std::string& prefix, const Function& function) {
    try {
      function();
    } catch (const Error&) {
      throw;
    } catch (const std::bad_alloc&) {
      throw Error(Code::out_of_memory, "there is not enough memory");
    } catch (const std::exception& error) {
      throw Error(code, prefix + detail::first_line(error.what()));
    }
  }

  /// Check the arrays of a call; returns the noise level of each entry.
  std::vector<float> begin(const OnnxCall& call, detail::Sizes& sizes) const {
    detail::check_shape(metadata_.at("y"), call.shape, sizes);
    const std::int64_t pixels = call.shape[0] * call.shape[2] * call.shape[3];
    check_count("y", call.y, call.shape[1] * pixels);
    detail::check_finite("y", call.y);
    for (const auto& [name, values] : {std::pair{"psf", call.psf}, std::pair{"mask", call.mask}}) {
      if (!values.empty()) metadata_.at(name);
      if (values.empty() && metadata_.find(name) != nullptr)
        detail::fail(Code::invalid_argument, "this artefact needs a ", name);
    }
    if (!call.mask.empty()) check_count("mask", call.mask, pixels);
    detail::check_mask(call.mask);
    if (!call.psf.empty()) {
      const auto [height, width] = call.psf_shape;
      if (height < 1 || width < 1 || height > 4096 || width > 4096)
        detail::fail(Code::invalid_shape, "psf must have between 1 and 4096 pixels a side, got ", height, " x ", width);
      check_count("psf", call.psf, height * width);
    }
    return detail::per_entry("sigma", call.sigma, call.shape[0]);
  }

  static void check_count(const char* name, std::span<const float> values, std::int64_t count) {
    if (static_cast<std::int64_t>(values.size()) != count)
      detail::fail(Code::invalid_shape, name, " must have ", count, " elements, got ", values.size());
  }

  /// A view of an array for ONNX Runtime, which takes inputs without const but does not write to them.
  static Ort::Value tensor(std::span<const float> values, std::span<const std::int64_t> shape) {
    const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return Ort::Value::CreateTensor<float>(memory, const_cast<float*>(values.data()), values.size(), shape.data(),
                                           shape.size());
  }

  Metadata metadata_;
  Ort::Env environment_;
  Ort::Session session_{nullptr};
};

}  // namespace fastreg
