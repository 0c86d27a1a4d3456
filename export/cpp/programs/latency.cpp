// Measures the latency of an artefact through the C++ interface, and prints one JSON object.
#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/rand.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "fastreg.hpp"
#include "options.hpp"

namespace {

using fastreg::programs::Options;
using fastreg::programs::UsageError;
using Clock = std::chrono::steady_clock;

constexpr const char* usage =
    "usage: latency ARTEFACT [options]\n"
    "\n"
    "Times restorations of a random image one after the other. Prints JSON; times are in milliseconds. p90 is null\n"
    "below 64 samples and p99 below 662: with fewer, a percentile says little.\n"
    "\n"
    "  --samples N    restorations to time (662)\n"
    "  --warmup N     restorations before (5)\n"
    "  --batch B, --height H, --width W   shape of the image (1, 321, 481)\n"
    "  --sigma S      noise level (0.1)\n"
    "  --weight W     weight of the prior; by default what it was tuned to\n"
    "  --threads N    threads of libtorch; by default its own choice\n"
    "  --help, --version\n";

double milliseconds(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// A percentile by the nearest rank, or null if there are fewer than `least` samples.
std::string percentile(const std::vector<double>& sorted, double share, std::size_t least) {
  if (sorted.size() < least) return "null";
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(sorted.size())));
  return std::to_string(sorted[std::max<std::size_t>(rank, 1) - 1]);
}

/// A string in JSON.
std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') result += '\\';
    if (static_cast<unsigned char>(letter) >= 0x20) result += letter;
  }
  return result + "\"";
}

void measure(const Options& options) {
  const auto count = [&](const char* name, const char* fallback) {
    return fastreg::programs::parse_count(name, options.get(name, fallback));
  };
  const std::int64_t samples = count("samples", "662"), warmup = count("warmup", "5"), batch = count("batch", "1"),
                     height = count("height", "321"), width = count("width", "481");
  const double sigma = fastreg::programs::parse_sigma(options.get("sigma", "0.1"));
  if (options.values.count("threads") != 0) at::set_num_threads(static_cast<int>(count("threads", "1")));
  std::optional<fastreg::PerEntry> weight;
  if (options.values.count("weight") != 0) weight = fastreg::programs::parse_number("weight", options.get("weight"));

  auto start = Clock::now();
  const fastreg::Restorer restorer(options.names[0]);
  const double load = milliseconds(start);
  const fastreg::Metadata& metadata = restorer.metadata();
  const at::Device device(metadata.device == "cuda" ? at::kCUDA : at::kCPU);
  at::manual_seed(0);
  at::Tensor y;
  fastreg::Inputs inputs;
  const fastreg::detail::Sizes sizes{{"B", batch}, {"H", height}, {"W", width}};
  for (const fastreg::Port& port : metadata.inputs) {
    const at::Tensor values = at::rand(fastreg::detail::resolve(port, sizes)).to(device);
    if (port.content == "measurement") y = values;
    if (port.content == "psf") inputs[port.name] = values;
    if (port.content == "mask") inputs[port.name] = values.gt(0.3).to(at::kFloat);
  }

  at::Tensor x;
  const auto restore = [&] {
    const auto begin = Clock::now();
    x = restorer(y, sigma, inputs, weight);
    if (device.is_cuda()) x.select(0, 0).select(0, 0).select(0, 0).select(0, 0).item<float>();  // wait for the device
    return milliseconds(begin);
  };
  const double first = restore();
  const at::Tensor reference = x.clone();
  if (!at::isfinite(x).all().item<bool>()) throw fastreg::Error(fastreg::Code::internal, "the result is not finite");
  for (std::int64_t k = 0; k < warmup; ++k) restore();
  std::vector<double> times;
  for (std::int64_t k = 0; k < samples; ++k) times.push_back(restore());
  if (!at::allclose(x, reference, 1e-4, 1e-4))
    throw fastreg::Error(fastreg::Code::internal, "the last result is another than the first");

  std::sort(times.begin(), times.end());
  std::printf(
      "{\"program\": \"latency\", \"fastreg\": %s, \"torch\": %s, \"task\": %s, \"prior\": %s, \"precision\": %s, ",
      quoted(FASTREG_VERSION).c_str(), quoted(TORCH_VERSION).c_str(), quoted(metadata.task).c_str(),
      quoted(metadata.prior).c_str(), quoted(metadata.precision).c_str());
  std::printf("\"device\": %s, \"threads\": %d, \"iterations\": %lld, \"shape\": %s, \"samples\": %lld, ",
              quoted(metadata.device).c_str(), at::get_num_threads(), static_cast<long long>(metadata.schedule.size()),
              fastreg::detail::to_text(y.sizes()).c_str(), static_cast<long long>(samples));
  std::printf("\"load_ms\": %f, \"first_ms\": %f, \"p50_ms\": %s, \"p90_ms\": %s, \"p99_ms\": %s}\n", load, first,
              percentile(times, 0.5, 1).c_str(), percentile(times, 0.9, 64).c_str(),
              percentile(times, 0.99, 662).c_str());
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const Options options = fastreg::programs::parse_options(
        count, arguments,
        {"samples", "warmup", "batch", "height", "width", "sigma", "weight", "threads", "help", "version"});
    if (options.values.count("help") != 0) return std::fputs(usage, stdout) >= 0 ? 0 : 1;
    if (options.values.count("version") != 0) return std::puts(FASTREG_VERSION) >= 0 ? 0 : 1;
    if (options.names.size() != 1) throw UsageError("expected one ARTEFACT, see --help");
    measure(options);
    return 0;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "latency: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "latency: %s\n", error.what());
    return 1;
  }
}
