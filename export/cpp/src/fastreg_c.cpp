// The C interface, implemented with fastreg.hpp.
#include "fastreg.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "fastreg.hpp"
#include "strided.hpp"

using fastreg::Code;
using fastreg::Metadata;
using fastreg::Port;
using fastreg::Restorer;
using fastreg::detail::fail;
using fastreg::detail::Sizes;
using fastreg::detail::Strided;

static_assert(static_cast<int>(Code::invalid_argument) == FASTREG_INVALID_ARGUMENT);
static_assert(static_cast<int>(Code::invalid_state) == FASTREG_INVALID_STATE);
static_assert(static_cast<int>(Code::invalid_type) == FASTREG_INVALID_TYPE);
static_assert(static_cast<int>(Code::invalid_shape) == FASTREG_INVALID_SHAPE);
static_assert(static_cast<int>(Code::invalid_value) == FASTREG_INVALID_VALUE);
static_assert(static_cast<int>(Code::invalid_device) == FASTREG_INVALID_DEVICE);
static_assert(static_cast<int>(Code::invalid_file) == FASTREG_INVALID_FILE);
static_assert(static_cast<int>(Code::unsupported) == FASTREG_UNSUPPORTED);
static_assert(static_cast<int>(Code::out_of_memory) == FASTREG_OUT_OF_MEMORY);
static_assert(static_cast<int>(Code::internal) == FASTREG_INTERNAL);

/// An input in the memory of the caller, and its dense copy for the solve.
struct Input {
  Strided<const float> source;
  at::Tensor staged;
};

struct fastreg_restorer {
  explicit fastreg_restorer(const char* path) : restorer(path) {}

  const Metadata& metadata() const { return restorer.metadata(); }

  Restorer restorer;
  std::map<std::string, Input, std::less<>> inputs;
  std::map<std::string, float, std::less<>> numbers;  // sigma and weight, if given as one number for all entries
  Strided<float> output;
  bool committed = false;
  std::string error;
};

namespace {

thread_local std::string thread_error;

/// Keep the first line of a message, or nothing if there is no memory for it.
void remember(std::string& place, const char* message) noexcept {
  try {
    place.assign(message, std::strcspn(message, "\n"));
  } catch (...) {
    place.clear();
  }
}

/// Call a function, and convert every exception to a status and a message.
template <typename Function>
fastreg_status protect(std::string& error, const Function& function) noexcept {
  try {
    function();
    return FASTREG_OK;
  } catch (const fastreg::Error& failure) {
    remember(error, failure.what());
    return static_cast<fastreg_status>(failure.code());
  } catch (const std::bad_alloc&) {
    remember(error, "there is not enough memory");
    return FASTREG_OUT_OF_MEMORY;
  } catch (const std::exception& failure) {
    remember(error, failure.what());
    return FASTREG_INTERNAL;
  } catch (...) {
    remember(error, "an unknown exception was thrown");
    return FASTREG_INTERNAL;
  }
}

/// `protect` for functions of a restorer; fails if it is null.
template <typename Function>
fastreg_status with(fastreg_restorer* restorer, const char* name, const Function& function) noexcept {
  if (restorer == nullptr)
    return protect(thread_error, [&] { fail(Code::invalid_argument, name, ": the restorer is a null pointer"); });
  return protect(restorer->error, [&] { function(*restorer); });
}

/// The input of a name; throws if the name is null or the artefact has no such input.
const Port& port_of(const fastreg_restorer& self, const char* name) {
  if (name == nullptr) fail(Code::invalid_argument, "the name of the input is a null pointer");
  return self.metadata().at(name);
}

bool is_number(const Port& port) { return port.content == "noise level" || port.content == "weight"; }

/// Check the shape of an input; a PSF, sigma and weight may be smaller than their port.
void check_input(const Port& port, const Strided<const float>& source, Sizes& sizes) {
  if (port.content == "psf") {
    if (source.shape.size() != 2 || source.shape[0] > port.shape[0].maximum || source.shape[1] > port.shape[1].maximum)
      fail(Code::invalid_shape, "the PSF must have two dimensions and at most ", port.shape[0].maximum, " x ",
           port.shape[1].maximum, " pixels, got ", fastreg::detail::to_text(source.shape));
  } else if (!is_number(port)) {
    fastreg::detail::check_shape(port, source.shape, sizes);
  } else if (source.shape.size() > 1) {
    fail(Code::invalid_shape, port.name, " must have at most one dimension, got ",
         fastreg::detail::to_text(source.shape));
  }
}

void commit(fastreg_restorer& self) {
  self.committed = false;
  Sizes sizes;
  for (const Port& port : self.metadata().inputs) {
    const auto found = self.inputs.find(port.name);
    if (found != self.inputs.end()) {
      check_input(port, found->second.source, sizes);
    } else if (port.name != "weight" && self.numbers.count(port.name) == 0) {
      fail(Code::invalid_argument, "the input \"", port.name, "\" is not set");
    }
  }
  const std::int64_t batch = self.inputs.at("y").source.shape[0];
  for (const char* name : {"sigma", "weight"}) {
    const auto found = self.inputs.find(name);
    if (found == self.inputs.end()) continue;
    if (const std::int64_t count = found->second.source.count(); count != 1 && count != batch)
      fail(Code::invalid_shape, name, " must be one number or one for each of the ", batch, " entries, got ", count);
  }
  if (self.inputs.count("weight") + self.numbers.count("weight") == 0 && !self.metadata().weight_rule)
    fail(Code::invalid_argument, "the prior has no tuned weight for ", self.metadata().task, ": set \"weight\"");
  if (self.output.data == nullptr) fail(Code::invalid_argument, "the output is not set");
  fastreg::detail::check_shape(self.metadata().output, self.output.shape, sizes);
  for (auto& [name, input] : self.inputs)
    if (!input.staged.defined()) input.staged = at::empty(input.source.shape, at::kFloat);
  self.committed = true;
}

fastreg::PerEntry per_entry(const fastreg_restorer& self, const char* name) {
  const auto input = self.inputs.find(name);
  return input != self.inputs.end() ? fastreg::PerEntry(input->second.staged)
                                    : fastreg::PerEntry(static_cast<double>(self.numbers.at(name)));
}

void execute(fastreg_restorer& self) {
  if (!self.committed) fail(Code::invalid_state, "execute was called before commit");
  const at::Device device(self.metadata().device == "cuda" ? at::kCUDA : at::kCPU);
  for (auto& [name, input] : self.inputs) {
    float* target = input.staged.mutable_data_ptr<float>();
    input.source.for_each([&](const float value) { *target++ = value; });
  }
  const auto staged = [&](const std::string& name) {
    const auto found = self.inputs.find(name);
    return found == self.inputs.end() ? at::Tensor() : found->second.staged.to(device);
  };
  fastreg::Inputs given;
  for (const Port& port : self.metadata().inputs)
    if (port.content == "psf" || port.content == "mask") given[port.name] = staged(port.name);
  std::optional<fastreg::PerEntry> weight;
  if (self.inputs.count("weight") + self.numbers.count("weight") != 0) weight = per_entry(self, "weight");
  const at::Tensor x = self.restorer(staged("y"), per_entry(self, "sigma"), given, weight).cpu();
  if (x.sizes() != at::IntArrayRef(self.output.shape))
    fail(Code::invalid_shape, "the result has the shape ", fastreg::detail::to_text(x.sizes()), ", the output has ",
         fastreg::detail::to_text(self.output.shape));
  const float* source = x.const_data_ptr<float>();
  self.output.for_each([&](float& value) { value = *source++; });
}

}  // namespace

fastreg_status fastreg_open(const char* path, fastreg_restorer** restorer) {
  return protect(thread_error, [&] {
    if (restorer == nullptr) fail(Code::invalid_argument, "fastreg_open: the place for the restorer is a null pointer");
    *restorer = nullptr;
    if (path == nullptr) fail(Code::invalid_argument, "fastreg_open: the path is a null pointer");
    *restorer = new fastreg_restorer(path);
  });
}

void fastreg_close(fastreg_restorer* restorer) { delete restorer; }

const char* fastreg_last_error(const fastreg_restorer* restorer) {
  return restorer == nullptr ? thread_error.c_str() : restorer->error.c_str();
}

const char* fastreg_metadata(const fastreg_restorer* restorer) {
  return restorer == nullptr ? nullptr : restorer->metadata().json.c_str();
}

fastreg_status fastreg_limits(fastreg_restorer* restorer, const char* name, int32_t* dimensions,
                              int64_t minimum[FASTREG_MAX_DIMENSIONS], int64_t maximum[FASTREG_MAX_DIMENSIONS]) {
  return with(restorer, "fastreg_limits", [&](fastreg_restorer& self) {
    const bool is_output = name != nullptr && std::strcmp(name, "x") == 0;
    const Port& port = is_output ? self.metadata().output : port_of(self, name);
    if (dimensions != nullptr) *dimensions = static_cast<int32_t>(port.shape.size()) + (port.is_complex() ? 1 : 0);
    for (std::size_t k = 0; k < port.shape.size(); ++k) {
      if (minimum != nullptr) minimum[k] = port.shape[k].minimum;
      if (maximum != nullptr) maximum[k] = port.shape[k].maximum;
    }
    if (!port.is_complex()) return;
    if (minimum != nullptr) minimum[port.shape.size()] = 2;
    if (maximum != nullptr) maximum[port.shape.size()] = 2;
  });
}

fastreg_status fastreg_set_input(fastreg_restorer* restorer, const char* name, const float* data, const int64_t* shape,
                                 const int64_t* strides, int32_t dimensions) {
  return with(restorer, "fastreg_set_input", [&](fastreg_restorer& self) {
    const Port& port = port_of(self, name);
    Strided<const float> source = fastreg::detail::make_strided(port.name, data, shape, strides, dimensions);
    Sizes alone;
    check_input(port, source, alone);
    self.committed = false;
    Input& input = self.inputs[port.name];
    if (input.source.shape != source.shape) input.staged = at::Tensor();
    input.source = std::move(source);
    self.numbers.erase(port.name);
  });
}

fastreg_status fastreg_set_number(fastreg_restorer* restorer, const char* name, double value) {
  return with(restorer, "fastreg_set_number", [&](fastreg_restorer& self) {
    const Port& port = port_of(self, name);
    if (!is_number(port)) fail(Code::invalid_argument, "the input \"", port.name, "\" is an array, not a number");
    const float number = static_cast<float>(value);
    fastreg::detail::check_positive(port.name, {&number, 1});
    self.committed = false;
    self.numbers[port.name] = number;
    self.inputs.erase(port.name);
  });
}

fastreg_status fastreg_unset(fastreg_restorer* restorer, const char* name) {
  return with(restorer, "fastreg_unset", [&](fastreg_restorer& self) {
    const Port& port = port_of(self, name);
    self.committed = false;
    self.inputs.erase(port.name);
    self.numbers.erase(port.name);
  });
}

fastreg_status fastreg_result_shape(fastreg_restorer* restorer, int64_t shape[4]) {
  return with(restorer, "fastreg_result_shape", [&](fastreg_restorer& self) {
    if (shape == nullptr)
      fail(Code::invalid_argument, "fastreg_result_shape: the place for the shape is a null pointer");
    const auto found = self.inputs.find("y");
    if (found == self.inputs.end()) fail(Code::invalid_state, "the shape of the result was asked for before y was set");
    const auto result = fastreg::detail::result_shape(self.metadata(), found->second.source.shape);
    std::copy(result.begin(), result.end(), shape);
  });
}

fastreg_status fastreg_set_output(fastreg_restorer* restorer, float* data, const int64_t* shape, const int64_t* strides,
                                  int32_t dimensions) {
  return with(restorer, "fastreg_set_output", [&](fastreg_restorer& self) {
    Strided<float> view = fastreg::detail::make_strided("the output", data, shape, strides, dimensions);
    Sizes alone;
    fastreg::detail::check_shape(self.metadata().output, view.shape, alone);
    fastreg::detail::check_disjoint("the output", view);
    self.committed = false;
    self.output = std::move(view);
  });
}

fastreg_status fastreg_commit(fastreg_restorer* restorer) { return with(restorer, "fastreg_commit", commit); }

fastreg_status fastreg_execute(fastreg_restorer* restorer) { return with(restorer, "fastreg_execute", execute); }

const char* fastreg_status_name(fastreg_status status) {
  static constexpr const char* names[] = {"ok",
                                          "invalid_argument",
                                          "invalid_state",
                                          "invalid_type",
                                          "invalid_shape",
                                          "invalid_value",
                                          "invalid_device",
                                          "invalid_file",
                                          "unsupported",
                                          "out_of_memory",
                                          "internal"};
  const auto index = static_cast<std::size_t>(status);
  return index < std::size(names) ? names[index] : "unknown";
}

const char* fastreg_version(void) { return FASTREG_VERSION; }

int32_t fastreg_version_number(void) { return FASTREG_VERSION_NUMBER; }

const char* fastreg_torch_version(void) { return TORCH_VERSION; }

int32_t fastreg_schema(void) { return static_cast<int32_t>(fastreg::schema); }
