// fastreg in C++ without libtorch: restore images with an artefact that `fastreg export --format onnx` wrote.
//
//     fastreg::OnnxRestorer restorer("deblur.onnx");
//     std::vector<float> x = restorer({.y = y, .shape = {1, 3, height, width}, .sigma = sigmas});
//
// Header only; link with ONNX Runtime. For whole solves (formats onnx and onnx-unrolled); fastreg_onnx_step.hpp has the
// driver for onnx-step.
#pragma once

#include <string>
#include <vector>

#include "fastreg/onnx.hpp"

namespace fastreg {

/// A restoration, loaded from a file into ONNX Runtime. Movable, not copyable; several threads may call one object.
class OnnxRestorer {
 public:
  /// Load an artefact.
  ///
  /// Throws `Error`: invalid_file if the file is missing, damaged or not a fastreg artefact, unsupported for another
  /// format, or a device that this ONNX Runtime does not support.
  explicit OnnxRestorer(const std::string& path, const OnnxOptions& options = {})
      : environment_(detail::make_environment()) {
    const std::string bytes = detail::read_file(path);
    detail::check_file(path, bytes);
    detail::guarded_onnx(Code::invalid_file, path + " cannot be loaded by ONNX Runtime: ", [&] {
      session_ = detail::open_session(environment_, bytes, "cpu", "ieee", options.threads);
      Ort::AllocatorWithDefaultOptions allocator;
      const auto text = session_.GetModelMetadata().LookupCustomMetadataMapAllocated("fastreg", allocator);
      if (!text) detail::fail(Code::invalid_file, path, " holds a model that fastreg did not export");
      metadata_ = parse_metadata(text.get());
    });
    if (metadata_.format != "onnx" && metadata_.format != "onnx-unrolled" && metadata_.format != "triton-server")
      detail::fail(Code::unsupported, "the artefact has the format ", metadata_.format,
                   ", expected onnx, onnx-unrolled or triton-server");
    detail::check_graph(path, session_, metadata_);
    metadata_.device = detail::choose_device(metadata_, options.device);
    if (metadata_.device == "cpu") return;
    detail::guarded_onnx(Code::unsupported, "ONNX Runtime cannot run " + path + " on cuda: ", [&] {
      session_ = detail::open_session(environment_, bytes, metadata_.device, metadata_.precision, options.threads);
    });
  }

  /// The metadata of the artefact; `device` is where it runs.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// Restore a batch of observations. Returns x [B, C, H, W], not clipped.
  ///
  /// Throws `Error`: invalid_shape, invalid_value if an input does not fit the metadata, invalid_argument if one
  /// is missing or unknown, internal if ONNX Runtime fails.
  std::vector<float> operator()(const OnnxCall& call) {
    std::vector<float> x;
    detail::guarded_onnx(Code::internal, "ONNX Runtime failed: ", [&] {
      const detail::OnnxInputs inputs(metadata_, call);
      Ort::IoBinding binding(session_);
      for (const std::string& name : detail::input_names(session_)) binding.BindInput(name.c_str(), *inputs.find(name));
      const std::vector<std::int64_t> shape = detail::resolve(metadata_.output, inputs.sizes());
      x.resize(detail::count(shape));
      binding.BindOutput(metadata_.output.name.c_str(), detail::view(x, shape));
      session_.Run(Ort::RunOptions(), binding);
    });
    return x;
  }

 private:
  Metadata metadata_;
  Ort::Env environment_;
  Ort::Session session_{nullptr};
};

}  // namespace fastreg
