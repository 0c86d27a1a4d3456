// fastreg in C++ without libtorch, one iteration at a time: for artefacts of `fastreg export --format onnx-step`.
//
//     fastreg::OnnxStepRestorer restorer("deblur-onnx-step");
//     std::vector<float> x = restorer({.y = y, .shape = {1, 3, height, width}, .sigma = sigmas},
//                                     [](std::size_t done, std::size_t of) { return !cancelled; });
//
// The artefact is a folder: start.onnx computes the first state, step.onnx one iteration, result.onnx the image, and
// fastreg.json has the metadata and the checksums. Header only; link with ONNX Runtime.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "fastreg/onnx.hpp"

namespace fastreg {

/// Called after each iteration with the number done and the total; the solve ends early if it returns false.
using OnnxProgress = std::function<bool(std::size_t done, std::size_t iterations)>;

/// A restoration whose iterations are run one by one. Movable, not copyable; several threads may call one object.
///
/// The state stays on the device, in two sets of buffers that are bound once and are read and written alternately. An
/// iteration only transfers one row of the schedule, a few numbers.
class OnnxStepRestorer {
 public:
  /// Load an artefact.
  ///
  /// Throws `Error`: invalid_file if the folder or a file is missing, damaged or from another artefact, unsupported for
  /// another format, or a device that this ONNX Runtime does not support.
  explicit OnnxStepRestorer(const std::string& folder, const OnnxOptions& options = {})
      : environment_(detail::make_environment()) {
    const std::filesystem::path path(folder);
    if (!std::filesystem::is_directory(path)) detail::fail(Code::invalid_file, "there is no folder ", folder);
    metadata_ = parse_metadata(detail::read_file(path / "fastreg.json"));
    if (metadata_.format != "onnx-step")
      detail::fail(Code::unsupported, "the artefact has the format ", metadata_.format, ", expected onnx-step");
    if (metadata_.schedule.empty() || metadata_.state.empty())
      detail::fail(Code::invalid_file, "the metadata of ", folder, " lack a schedule or a state");
    metadata_.device = detail::choose_device(metadata_, options.device);
    std::vector<std::string> rest = {"row"};
    for (const Port& port : metadata_.state) rest.push_back(port.name);
    open(path / "start.onnx", start_, rest, options);
    open(path / "step.onnx", step_, rest, options);
    open(path / "result.onnx", result_, rest, options);
  }

  /// The metadata of the artefact; `device` is where it runs.
  const Metadata& metadata() const noexcept { return metadata_; }

  /// Restore a batch of observations. Returns x [B, C, H, W], not clipped.
  ///
  /// Throws `Error`: invalid_shape, invalid_value if an input does not fit the metadata, invalid_argument if one
  /// is missing or unknown, internal if ONNX Runtime fails or `progress` throws.
  std::vector<float> operator()(const OnnxCall& call, const OnnxProgress& progress = {}) {
    std::vector<float> x;
    detail::guarded_onnx(Code::internal, "ONNX Runtime failed: ", [&] {
      const detail::OnnxInputs inputs(metadata_, call);
      const Ort::Allocator allocator(step_, memory());
      State ping = allocate(allocator, inputs.sizes()), pong = allocate(allocator, inputs.sizes());

      Ort::IoBinding start(start_);
      bind_inputs(start_, start, inputs, nullptr);
      for (const auto& [name, value] : ping) start.BindOutput(name.c_str(), value);
      start_.Run(Ort::RunOptions(), start);

      Ort::IoBinding forth(step_), back(step_);
      for (const auto& [binding, from, to] : {std::tuple{&forth, &ping, &pong}, std::tuple{&back, &pong, &ping}}) {
        bind_inputs(step_, *binding, inputs, from);
        for (const auto& [name, value] : *to) binding->BindOutput(("next_" + name).c_str(), value);
      }
      const State* last = &ping;
      const std::size_t iterations = metadata_.schedule.size();
      for (std::size_t k = 0; k < iterations; ++k) {
        const std::vector<float>& row = metadata_.schedule[k];
        const std::int64_t width = static_cast<std::int64_t>(row.size());
        Ort::IoBinding& binding = k % 2 == 0 ? forth : back;
        binding.BindInput("row", detail::view(row, {&width, 1}));
        step_.Run(Ort::RunOptions(), binding);
        last = k % 2 == 0 ? &pong : &ping;
        if (progress && !progress(k + 1, iterations)) break;
      }

      const std::vector<std::int64_t> shape = detail::resolve(metadata_.output, inputs.sizes());
      x.resize(detail::count(shape));
      Ort::IoBinding result(result_);
      bind_inputs(result_, result, inputs, last);
      result.BindOutput(metadata_.output.name.c_str(), detail::view(x, shape));
      result_.Run(Ort::RunOptions(), result);
    });
    return x;
  }

 private:
  using State = std::vector<std::pair<std::string, Ort::Value>>;

  /// Check and load one of the graphs; `rest` are the inputs allowed in addition to those of the metadata.
  void open(const std::filesystem::path& path, Ort::Session& session, const std::vector<std::string>& rest,
            const OnnxOptions& options) {
    const std::string file = path.string(), name = path.filename().string(), bytes = detail::read_file(path);
    const auto found = std::find_if(metadata_.checksums.begin(), metadata_.checksums.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (found == metadata_.checksums.end() || detail::sha256(bytes) != found->second)
      detail::fail(Code::invalid_file, file,
                   " is damaged or from another artefact: its checksum is not the one in fastreg.json");
    const bool on_cpu = metadata_.device == "cpu";
    const std::string words = on_cpu ? file + " cannot be loaded by ONNX Runtime: "
                                     : "ONNX Runtime cannot run " + file + " on " + metadata_.device + ": ";
    detail::guarded_onnx(on_cpu ? Code::invalid_file : Code::unsupported, words, [&] {
      session = detail::open_session(environment_, bytes, metadata_.device, metadata_.precision, options.threads);
    });
    detail::check_graph(file, session, metadata_, rest);
  }

  Ort::MemoryInfo memory() const {
    return metadata_.device == "cuda" ? Ort::MemoryInfo("Cuda", OrtDeviceAllocator, 0, OrtMemTypeDefault)
                                      : Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  }

  State allocate(const Ort::Allocator& allocator, const detail::Sizes& sizes) const {
    State state;
    for (const Port& port : metadata_.state) {
      const std::vector<std::int64_t> shape = detail::resolve(port, sizes);
      state.emplace_back(port.name, Ort::Value::CreateTensor<float>(allocator, shape.data(), shape.size()));
    }
    return state;
  }

  /// Bind the inputs of the call and the state to a graph; the row of the schedule is bound in each iteration.
  static void bind_inputs(Ort::Session& session, Ort::IoBinding& binding, const detail::OnnxInputs& inputs,
                          const State* state) {
    for (const std::string& name : detail::input_names(session)) {
      if (name == "row") continue;
      const Ort::Value* value = inputs.find(name);
      if (value == nullptr && state != nullptr)
        for (const auto& [key, tensor] : *state)
          if (key == name) value = &tensor;
      if (value == nullptr) detail::fail(Code::invalid_file, "a graph reads ", name, " before there is one");
      binding.BindInput(name.c_str(), *value);
    }
  }

  Metadata metadata_;
  Ort::Env environment_;
  Ort::Session start_{nullptr}, step_{nullptr}, result_{nullptr};
};

}  // namespace fastreg
