// Uses the ONNX Runtime drivers: what they must do, and "case<TAB>code<TAB>message" for each misuse.
//
//   onnx_client DENOISE.onnx DENOISE_STEP DEBLUR_STEP INPAINT.onnx SUPER_RESOLVE.onnx MRI_STEP [name=PATH …]    PATH: what is no artefact
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "fastreg_onnx.hpp"
#include "fastreg_onnx_step.hpp"

using fastreg::OnnxCall;
using fastreg::OnnxRestorer;
using fastreg::OnnxStepRestorer;

static_assert(std::is_move_constructible_v<OnnxStepRestorer> && !std::is_copy_constructible_v<OnnxStepRestorer>);

namespace {

constexpr std::int64_t height = 18, width = 21, pixels = height * width;
const std::vector<float> sigma = {0.1F}, weight = {0.3F}, both = {0.1F, 0.3F};

bool wrong = false;

void expect(bool truth, const char* what) {
  if (truth) return;
  std::printf("failed\t0\t%s\n", what);
  wrong = true;
}

void refused(const std::string& name, const std::function<void()>& call) {
  try {
    call();
    expect(false, name.c_str());
  } catch (const fastreg::Error& error) {
    std::printf("%s\t%d\t%s\n", name.c_str(), static_cast<int>(error.code()), error.what());
  }
}

std::vector<float> image(std::int64_t batch, std::int64_t channels) {
  std::vector<float> values(static_cast<std::size_t>(batch * channels * pixels));
  for (std::size_t k = 0; k < values.size(); ++k) values[k] = static_cast<float>(k * 7919 % 101) / 100;
  return values;
}

double distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t k = 0; k < a.size(); ++k) sum += std::pow(static_cast<double>(a[k]) - b[k], 2);
  return a.size() == b.size() && !a.empty() ? std::sqrt(sum / static_cast<double>(a.size())) : 1e9;
}

template <typename Restorer>
void misuse(Restorer& restorer, const std::string& kind) {
  const std::vector<float> y = image(2, 3), empty;
  std::vector<float> bad = y;
  bad[5] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> zero = {0.0F}, three = {0.1F, 0.1F, 0.1F}, psf = {1.0F};
  const OnnxCall good{.y = y, .shape = {2, 3, height, width}, .sigma = sigma, .weight = weight};
  const auto with = [&](const std::string& name, const std::function<void(OnnxCall&)>& change) {
    OnnxCall call = good;
    change(call);
    refused(kind + name, [&] { restorer(call); });
  };
  with("elements", [&](OnnxCall& call) { call.y = std::span(y).first(7); });
  with("batch of none", [&](OnnxCall& call) { call.y = empty, call.shape[0] = 0; });
  with("negative batch", [&](OnnxCall& call) { call.shape[0] = -2; });
  with("channels", [&](OnnxCall& call) { call.shape = {3, 2, height, width}; });
  with("too small", [&](OnnxCall& call) { call.shape[2] = 2; });
  with("too large", [&](OnnxCall& call) { call.shape[3] = std::numeric_limits<std::int64_t>::max(); });
  with("NaN", [&](OnnxCall& call) { call.y = bad; });
  with("sigma zero", [&](OnnxCall& call) { call.sigma = zero; });
  with("no sigma", [&](OnnxCall& call) { call.sigma = empty; });
  with("three sigmas", [&](OnnxCall& call) { call.sigma = three; });
  with("weight zero", [&](OnnxCall& call) { call.weight = zero; });
  with("psf not taken", [&](OnnxCall& call) { call.inputs["psf"] = {psf, {1, 1}}; });
  expect(restorer(good).size() == y.size(), "a restorer works after it was misused");
}

void denoise(const char* whole_path, const char* step_path) {
  OnnxRestorer whole(whole_path, {.threads = 1});
  OnnxStepRestorer step(step_path, {.threads = 1, .device = "cpu"});
  const std::vector<float> y = image(2, 3);
  const OnnxCall call{.y = y, .shape = {2, 3, height, width}, .sigma = both};
  const std::vector<float> x = step(call);
  expect(distance(x, whole(call)) < 1e-6, "the loop in the host gives what the loop in the graph gives");
  expect(distance(x, y) > 1e-3, "it restores");
  const std::vector<float> first(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(y.size() / 2));
  const std::vector<float> alone = step({.y = first, .shape = {1, 3, height, width}, .sigma = sigma});
  expect(distance(alone, std::vector<float>(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(x.size() / 2))) < 1e-5,
         "entries are independent, and a call may have another size than the one before");

  std::vector<std::size_t> seen;
  const std::vector<float> cut = step(call, [&](std::size_t done, std::size_t of) {
    seen.push_back(done);
    return done + 1 < of;
  });
  expect(seen.size() + 1 == step.metadata().schedule.size() && seen.back() == seen.size(), "iterations are told of");
  expect(distance(cut, x) > 1e-5 && distance(cut, y) > 1e-5, "what is left out is left out");

  std::vector<std::thread> threads;
  std::vector<std::vector<float>> results(3);
  for (std::vector<float>& result : results) threads.emplace_back([&] { result = step(call); });
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<float>& result : results) expect(result == x, "threads may share a restorer");
  OnnxStepRestorer moved = std::move(step);
  expect(moved(call) == x, "a moved restorer works");

  misuse(whole, "whole: ");
  misuse(moved, "step: ");
  refused("whole: not on cuda", [&] { OnnxRestorer(whole_path, {.device = "cuda"}); });
  refused("step: not on cuda", [&] { OnnxStepRestorer(step_path, {.device = "cuda"}); });
  refused("unknown device", [&] { OnnxRestorer(whole_path, {.device = "tpu"}); });
  refused("a folder for a file", [&] { OnnxRestorer none(step_path); });
  refused("a file for a folder", [&] { OnnxStepRestorer none(whole_path); });
}

void deblur(const char* path) {
  OnnxStepRestorer restorer(path);
  const std::vector<float> y = image(1, 3);
  const std::int64_t side = restorer.metadata().at("psf").shape[0].maximum;
  std::vector<float> psf(static_cast<std::size_t>((side + 1) * (side + 1)), 0.5F), seven = psf;
  for (float& value : seven) value *= 7;
  OnnxCall call{.y = y, .shape = {1, 3, height, width}, .sigma = sigma, .weight = weight};
  refused("no psf", [&] { restorer(call); });
  call.inputs["psf"] = {psf, {side + 1, side + 1}};
  refused("psf too large", [&] { restorer(call); });
  call.inputs["psf"].shape = {3, 3};
  refused("psf of another size", [&] { restorer(call); });
  call.inputs["psf"] = {std::span(psf).first(6), {3, 2}};
  const std::vector<float> x = restorer(call);
  call.inputs["psf"].values = std::span(seven).first(6);
  expect(distance(x, restorer(call)) < 1e-6, "a PSF is divided by its sum");
  seven[1] = -1;
  refused("psf negative", [&] { restorer(call); });
  seven.assign(seven.size(), 0.0F);
  refused("psf without sum", [&] { restorer(call); });
}

void inpaint(const char* path) {
  OnnxRestorer restorer(path);
  const std::vector<float> y = image(2, 3);
  std::vector<float> mask = image(2, 1);
  for (float& value : mask) value = value > 0.3F ? 1.0F : 0.0F;
  OnnxCall call{.y = y, .shape = {2, 3, height, width}, .sigma = both, .weight = weight};
  refused("no mask", [&] { restorer(call); });
  call.inputs["mask"] = {std::span(mask).first(pixels), {2, 1, height, width}};
  refused("mask of another size", [&] { restorer(call); });
  call.inputs["mask"].values = mask;
  const std::vector<float> x = restorer(call);
  expect(std::all_of(x.begin(), x.end(), [](float value) { return std::isfinite(value); }), "inpainting works");
  mask[3] = 2;
  refused("mask above one", [&] { restorer(call); });
}

void other_ranges(const char* enlarging_path, const char* scanning_path) {
  OnnxRestorer enlarging(enlarging_path);
  const std::vector<float> y = image(2, 3), k = image(4, 3), mask(static_cast<std::size_t>(2 * pixels), 1.0F);
  OnnxCall call{.y = y, .shape = {2, 3, height, width}, .sigma = both, .weight = weight};
  expect(enlarging(call).size() == 4 * y.size(), "twice as large");
  OnnxStepRestorer scanning(scanning_path);
  call.inputs["mask"] = {mask, {2, 1, height, width}};
  refused("real measurements for complex ones", [&] { scanning(call); });
  call.y = k;
  const std::vector<float> x = scanning(call);
  expect(x.size() == y.size() && distance(x, y) > 1e-3, "complex in, real out");
  call.inputs["sigma"] = {both, {2}};
  refused("sigma among the inputs", [&] { scanning(call); });
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 7) return 2;
  try {
    denoise(arguments[1], arguments[2]);
    deblur(arguments[3]);
    inpaint(arguments[4]);
    other_ranges(arguments[5], arguments[6]);
    for (int k = 7; k < count; ++k) {
      const std::string argument = arguments[k];
      const std::size_t equals = argument.find('=');
      const std::string path = argument.substr(equals + 1);
      refused(argument.substr(0, equals), [&] {
        if (std::filesystem::is_directory(path))
          OnnxStepRestorer none(path);
        else
          OnnxRestorer none(path);
      });
    }
  } catch (const fastreg::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return wrong ? 1 : 0;
}
