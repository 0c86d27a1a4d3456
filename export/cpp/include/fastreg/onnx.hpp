// Sessions, integrity checks and inputs of a call, for both ONNX Runtime drivers.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fastreg/checks.hpp"
#include "fastreg/error.hpp"
#include "fastreg/metadata.hpp"
#include "fastreg/sha256.hpp"

namespace fastreg {

/// A dense row-major array of the caller.
struct OnnxArray {
  std::span<const float> values;
  std::vector<std::int64_t> shape;
};

/// The arguments of a call: dense arrays of the caller, which are only read during the call.
struct OnnxCall {
  std::span<const float> y;             ///< [B, C, H, W]; if complex, with a last axis of 2: real, imaginary
  std::array<std::int64_t, 4> shape{};  ///< B, C, H, W
  std::span<const float> sigma;         ///< one noise level, or one per entry, in units of [0, 1]
  std::span<const float> weight = {};   ///< lambda, likewise; empty: by the rule of the prior
  /// The other inputs in the metadata, by name. A PSF is [height, width], at most of the size in the metadata, and is
  /// divided by its sum; a mask is [B, 1, H, W] in [0, 1].
  std::map<std::string, OnnxArray> inputs = {};
};

/// Options of a session.
struct OnnxOptions {
  int threads = 0;          ///< threads per operation; zero: chosen by ONNX Runtime
  std::string device = "";  ///< "cpu" or "cuda"; empty: the device that the artefact was exported for
};

namespace detail {

/// Call a function, and convert exceptions of ONNX Runtime to `Error`.
template <typename Function>
void guarded_onnx(Code code, const std::string& prefix, const Function& function) {
  try {
    function();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(Code::out_of_memory, "there is not enough memory");
  } catch (const std::exception& error) {
    throw Error(code, prefix + first_line(error.what()));
  }
}

inline std::string read_file(const std::filesystem::path& path) {
  if (!std::filesystem::is_regular_file(path)) fail(Code::invalid_file, "there is no file ", path.string());
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) fail(Code::invalid_file, path.string(), " cannot be read");
  if (bytes.empty()) fail(Code::invalid_file, path.string(), " is empty");
  return bytes;
}

/// Throw unless an .onnx file matches the checksum in its metadata, which is computed with zeros in place of its
/// digits.
inline void check_file(const std::string& path, std::string bytes) {
  static constexpr std::string_view mark = "\"file_sha256\": \"";
  const std::size_t place = bytes.find(mark), digits = place + mark.size();
  if (place == std::string::npos || bytes.size() - digits < 64)
    fail(Code::invalid_file, path, " holds no metadata of fastreg: it is not whole, or fastreg did not export it");
  const std::string digest = bytes.substr(digits, 64);
  bytes.replace(digits, 64, 64, '0');
  if (sha256(bytes) != digest) fail(Code::invalid_file, path, " is damaged: its checksum is wrong");
}

/// The device to run an artefact on; throws if it cannot run there.
inline std::string choose_device(const Metadata& metadata, const std::string& wanted) {
  const std::string device = wanted.empty() ? metadata.device : wanted;
  if (device != "cpu" && device != "cuda") fail(Code::unsupported, "the device must be cpu or cuda, got ", device);
  if (device == "cpu" && metadata.precision != "ieee")
    fail(Code::unsupported, "the artefact has ", metadata.precision,
         " convolutions, which ONNX Runtime runs on cuda only");
  return device;
}

/// The environment of the sessions. A library that is older than the headers returns no interface at all.
inline Ort::Env make_environment() {
  const OrtApiBase* base = OrtGetApiBase();
  if (base->GetApi(ORT_API_VERSION) == nullptr)
    fail(Code::unsupported, "fastreg was built for ONNX Runtime 1.", ORT_API_VERSION, ", the library here is ",
         base->GetVersionString());
  return Ort::Env(ORT_LOGGING_LEVEL_FATAL, "fastreg");
}

/// A session with all graph optimisations. If the CUDA provider is not available, ONNX Runtime throws; it does not fall
/// back to the CPU.
inline Ort::Session open_session(const Ort::Env& environment, const std::string& bytes, const std::string& device,
                                 const std::string& precision, int threads) {
  Ort::SessionOptions options;
  options.SetGraphOptimizationLevel(GraphOptimizationLevel::ORT_ENABLE_ALL);
  options.SetIntraOpNumThreads(threads);
  if (device == "cuda") {
    OrtCUDAProviderOptionsV2* created = nullptr;
    Ort::ThrowOnError(Ort::GetApi().CreateCUDAProviderOptions(&created));
    const std::unique_ptr<OrtCUDAProviderOptionsV2, void (*)(OrtCUDAProviderOptionsV2*)> provider(
        created, Ort::GetApi().ReleaseCUDAProviderOptions);
    const char* name = "use_tf32";
    const char* value = precision == "tf32" ? "1" : "0";
    Ort::ThrowOnError(Ort::GetApi().UpdateCUDAProviderOptions(provider.get(), &name, &value, 1));
    options.AppendExecutionProvider_CUDA_V2(*provider);
  }
  return Ort::Session(environment, bytes.data(), bytes.size(), options);
}

inline std::vector<std::string> input_names(const Ort::Session& session) {
  Ort::AllocatorWithDefaultOptions allocator;
  std::vector<std::string> names;
  for (std::size_t k = 0; k < session.GetInputCount(); ++k)
    names.emplace_back(session.GetInputNameAllocated(k, allocator).get());
  return names;
}

/// Throw if a graph has inputs that are not in the metadata; `rest` are the names allowed in addition.
inline void check_graph(const std::string& path, const Ort::Session& session, const Metadata& metadata,
                        const std::vector<std::string>& rest = {}) {
  for (const std::string& name : input_names(session))
    if (metadata.find(name) == nullptr && std::find(rest.begin(), rest.end(), name) == rest.end())
      fail(Code::invalid_file, path, " reads \"", name, "\", of which its metadata say nothing");
}

/// A view of an array for ONNX Runtime, whose inputs are not const, although it does not write to them.
inline Ort::Value view(std::span<const float> values, std::span<const std::int64_t> shape) {
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  return Ort::Value::CreateTensor<float>(memory, const_cast<float*>(values.data()), values.size(), shape.data(),
                                         shape.size());
}

/// The checked inputs of a call, by name. They refer to the arrays of the call, which must outlive them.
class OnnxInputs {
 public:
  /// Throws `Error`: invalid_shape, invalid_value if an input does not fit the metadata, invalid_argument if one is
  /// missing or unknown.
  OnnxInputs(const Metadata& metadata, const OnnxCall& call) {
    check(metadata, call);
    const std::int64_t batch = call.shape[0];
    sigma_ = per_entry("sigma", call.sigma, batch);
    weight_ = call.weight.empty() ? default_weights(metadata, sigma_) : per_entry("weight", call.weight, batch);
    for (const Port& port : metadata.inputs) {
      const std::vector<std::int64_t> shape = resolve(port, sizes_);
      if (port.content == "measurement") values_.emplace(port.name, view(call.y, shape));
      if (port.content == "noise level") values_.emplace(port.name, view(sigma_, shape));
      if (port.content == "weight") values_.emplace(port.name, view(weight_, shape));
      if (port.content == "mask") values_.emplace(port.name, view(call.inputs.at(port.name).values, shape));
      if (port.content == "psf") {
        const OnnxArray& psf = call.inputs.at(port.name);
        psfs_.push_back(prepare_psf(port, psf.values, psf.shape[0], psf.shape[1]));
        values_.emplace(port.name, view(psfs_.back(), shape));
      }
    }
  }
  OnnxInputs(const OnnxInputs&) = delete;
  OnnxInputs& operator=(const OnnxInputs&) = delete;

  /// Values of the symbols of the metadata in this call.
  const Sizes& sizes() const { return sizes_; }

  /// The input of that name, or null.
  const Ort::Value* find(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? nullptr : &found->second;
  }

 private:
  void check(const Metadata& metadata, const OnnxCall& call) {
    const Port& measured = metadata.at("y");
    std::vector<std::int64_t> shape(call.shape.begin(), call.shape.end());
    if (measured.is_complex()) shape.push_back(2);
    check_shape(measured, shape, sizes_);
    check_count("y", call.y, static_cast<std::int64_t>(count(shape)));
    check_observations(measured, call.y);
    for (const auto& [name, array] : call.inputs)
      if (const Port& port = metadata.at(name); port.content != "psf" && port.content != "mask")
        fail(Code::invalid_argument, name, " is an argument of its own");
    for (const Port& port : metadata.inputs) {
      if (port.content != "psf" && port.content != "mask") continue;
      const auto found = call.inputs.find(port.name);
      if (found == call.inputs.end()) fail(Code::invalid_argument, "this artefact needs a ", port.name);
      const OnnxArray& array = found->second;
      if (port.content == "mask") {
        check_shape(port, array.shape, sizes_);
      } else if (array.shape.size() != 2 || *std::min_element(array.shape.begin(), array.shape.end()) < 1 ||
                 *std::max_element(array.shape.begin(), array.shape.end()) > 4096) {
        fail(Code::invalid_shape, port.name, " must have two dimensions of 1 to 4096 pixels, got ",
             to_text(array.shape));
      }
      check_count(port.name, array.values, static_cast<std::int64_t>(count(array.shape)));
      if (port.content == "mask") check_mask(array.values);
    }
  }

  static void check_count(const std::string& name, std::span<const float> values, std::int64_t count) {
    if (static_cast<std::int64_t>(values.size()) != count)
      fail(Code::invalid_shape, name, " must have ", count, " elements, got ", values.size());
  }

  Sizes sizes_;
  std::vector<float> sigma_, weight_;
  std::list<std::vector<float>> psfs_;
  std::map<std::string, Ort::Value> values_;
};

}  // namespace detail
}  // namespace fastreg
