// Uses fastreg.hpp: what it must do, and "case<TAB>code<TAB>message" for each misuse of tensors.
//
//   cpp_client DENOISE.pt2 DEBLUR.pt2 INPAINT.pt2 SUPER_RESOLVE.pt2 DEMOSAICK.pt2 MRI.pt2
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <thread>
#include <type_traits>
#include <vector>

#include "fastreg.hpp"
#include "fastreg/sha256.hpp"

using fastreg::Restorer;

static_assert(std::is_move_constructible_v<Restorer> && !std::is_copy_constructible_v<Restorer>);

namespace {

bool wrong = false;

void expect(bool truth, const char* what) {
  if (truth) return;
  std::printf("failed\t0\t%s\n", what);
  wrong = true;
}

void refused(const char* name, const std::function<void()>& call) {
  try {
    call();
    expect(false, name);
  } catch (const fastreg::Error& error) {
    std::printf("%s\t%d\t%s\n", name, static_cast<int>(error.code()), error.what());
  }
}

void denoise(Restorer& restorer) {
  const at::Tensor y = at::rand({2, 3, 20, 17});
  const at::Tensor x = restorer(y, 0.1);
  expect(x.sizes() == y.sizes() && x.is_contiguous(), "the result has the shape of the observation");
  expect(restorer(y.contiguous(at::MemoryFormat::ChannelsLast), 0.1).equal(x), "channels_last is copied, not misread");
  expect(restorer(y.permute({0, 1, 3, 2}), 0.1).allclose(restorer(y.permute({0, 1, 3, 2}).contiguous(), 0.1)),
         "a transposed view is copied, not misread");
  expect(restorer(y, at::full({2}, 0.1)).equal(x), "a tensor of noise levels");
  expect(restorer(y, std::vector<float>{0.1F, 0.1F}).equal(x), "a vector of noise levels");
  const double weight = (*restorer.metadata().weight_rule)(static_cast<double>(0.1F));
  expect(restorer(y, 0.1, {}, weight).equal(x), "the default weight is that of the rule");
  expect(!restorer(y, 0.1, {}, 2 * weight).equal(x), "a weight overrides the rule");
  const at::Tensor mixed = restorer(y, std::vector<float>{0.1F, 0.3F});
  expect(mixed[0].allclose(x[0], 1e-4, 1e-5) && !mixed[1].allclose(x[1], 1e-4, 1e-5), "entries are independent");

  Restorer moved = std::move(restorer);
  expect(moved(y, 0.1).equal(x), "a moved restorer works");
  refused("moved from", [&] { restorer(y, 0.1); });
  restorer = std::move(moved);
  std::vector<std::thread> threads;
  std::vector<at::Tensor> results(3);
  for (at::Tensor& result : results) threads.emplace_back([&] { result = restorer(y, 0.1); });
  for (std::thread& thread : threads) thread.join();
  for (const at::Tensor& result : results) expect(result.equal(x), "threads may share a restorer");

  refused("double", [&] { restorer(y.to(at::kDouble), 0.1); });
  refused("integers", [&] { restorer(y.to(at::kByte), 0.1); });
  refused("half", [&] { restorer(y.to(at::kHalf), 0.1); });
  refused("undefined", [&] { restorer(at::Tensor(), 0.1); });
  refused("sparse", [&] { restorer(y.to_sparse(), 0.1); });
  refused("meta", [&] { restorer(y.to(at::kMeta), 0.1); });
  refused("three dimensions", [&] { restorer(y[0], 0.1); });
  refused("one channel", [&] { restorer(y.slice(1, 0, 1), 0.1); });
  refused("empty batch", [&] { restorer(y.slice(0, 0, 0), 0.1); });
  refused("too small", [&] { restorer(y.slice(2, 0, 2), 0.1); });
  refused("infinite", [&] { restorer(y / 0, 0.1); });
  refused("sigma zero", [&] { restorer(y, 0.0); });
  refused("three sigmas", [&] { restorer(y, at::full({3}, 0.1)); });
  refused("sigma matrix", [&] { restorer(y, at::full({2, 1}, 0.1)); });
  refused("sigma integer", [&] { restorer(y, at::ones({2}, at::kInt)); });
  refused("weight negative", [&] { restorer(y, 0.1, {}, -1.0); });
  refused("psf not taken", [&] { restorer(y, 0.1, {{"psf", at::ones({3, 3})}}); });
  refused("concurrency", [] { const Restorer none("anything.pt2", 0); });
}

void deblur(const char* path) {
  const Restorer restorer(path);
  const at::Tensor y = at::rand({1, 3, 18, 21});
  const at::Tensor psf = at::rand({3, 2}) + 0.1;
  const std::int64_t side = restorer.metadata().at("psf").shape[0].maximum;
  at::Tensor padded = at::zeros({side, side});
  padded.slice(0, side / 2 - 1, side / 2 + 2).slice(1, side / 2 - 1, side / 2 + 1).copy_(psf);
  const at::Tensor x = restorer(y, 0.1, {{"psf", psf}});
  expect(x.equal(restorer(y, 0.1, {{"psf", padded}})), "a small PSF is padded about its centre");
  expect(x.allclose(restorer(y, 0.1, {{"psf", 7 * psf}}), 1e-4, 1e-5), "a PSF is divided by its sum");
  refused("no psf", [&] { restorer(y, 0.1); });
  refused("psf double", [&] { restorer(y, 0.1, {{"psf", psf.to(at::kDouble)}}); });
  refused("psf of one dimension", [&] { restorer(y, 0.1, {{"psf", psf.flatten()}}); });
  refused("psf too large", [&] { restorer(y, 0.1, {{"psf", at::ones({side + 1, 1})}}); });
  refused("psf negative", [&] { restorer(y, 0.1, {{"psf", -psf}}); });
}

void inpaint(const char* path) {
  const Restorer restorer(path, 2);
  const at::Tensor y = at::rand({2, 3, 18, 21}), mask = at::rand({2, 1, 18, 21}).gt(0.3).to(at::kFloat);
  expect(at::isfinite(restorer(y, 0.1, {{"mask", mask}})).all().item<bool>(), "inpainting works");
  refused("no mask", [&] { restorer(y, 0.1); });
  refused("mask of booleans", [&] { restorer(y, 0.1, {{"mask", mask.to(at::kBool)}}); });
  refused("mask of another size", [&] { restorer(y, 0.1, {{"mask", mask.slice(3, 0, 20)}}); });
  refused("mask above one", [&] { restorer(y, 0.1, {{"mask", mask * 2}}); });
}

void other_ranges(char** paths) {
  const Restorer enlarging(paths[0]), demosaicking(paths[1]), scanning(paths[2]);
  expect(enlarging(at::rand({2, 3, 18, 21}), 0.1).sizes() == at::IntArrayRef({2, 3, 36, 42}), "twice as large");
  const fastreg::Dimension& height = enlarging.metadata().output.shape[2];
  expect(height.symbol == "H" && height.scale == 2 && height.offset == 0, "the metadata say so");
  const at::Tensor mosaic = at::rand({1, 1, 18, 21});
  expect(demosaicking(mosaic, 0.1).sizes() == at::IntArrayRef({1, 3, 18, 21}), "one channel in, three out");
  refused("a mosaic of three channels", [&] { demosaicking(at::rand({1, 3, 18, 21}), 0.1); });

  const at::Tensor pairs = at::rand({2, 3, 18, 21, 2}), mask = at::rand({2, 1, 18, 21}).gt(0.3).to(at::kFloat);
  const at::Tensor k = at::view_as_complex(pairs), x = scanning(k, 0.1, {{"mask", mask}});
  expect(x.sizes() == at::IntArrayRef({2, 3, 18, 21}) && !x.is_complex(), "complex in, real out");
  expect(scanning(pairs, 0.1, {{"mask", mask}}).equal(x), "complex numbers and pairs are the same");
  expect(scanning(k.permute({0, 1, 3, 2}).contiguous().permute({0, 1, 3, 2}), 0.1, {{"mask", mask}}).equal(x),
         "a transposed view is copied, not misread");
  const at::Tensor conjugate = at::view_as_complex(at::cat({pairs.slice(4, 0, 1), -pairs.slice(4, 1, 2)}, 4));
  expect(scanning(conjugate.conj(), 0.1, {{"mask", mask}}).equal(x), "a conjugate that is not computed yet");
  refused("real measurements for complex ones", [&] { scanning(at::rand({2, 3, 18, 21}), 0.1, {{"mask", mask}}); });
  refused("complex double", [&] { scanning(k.to(at::kComplexDouble), 0.1, {{"mask", mask}}); });
  refused("complex NaN", [&] { scanning(k / 0.0, 0.1, {{"mask", mask}}); });
  refused("sigma among the inputs", [&] { scanning(k, 0.1, {{"mask", mask}, {"sigma", mask}}); });
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 7) return 2;
  for (const std::size_t size : {0, 1, 55, 56, 63, 64, 65, 119, 120, 1000})
    std::printf("sha256\t%zu\t%s\n", size, fastreg::detail::sha256(std::string(size, 'a')).c_str());
  try {
    Restorer restorer(arguments[1]);
    denoise(restorer);
    deblur(arguments[2]);
    inpaint(arguments[3]);
    other_ranges(arguments + 4);
  } catch (const fastreg::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return wrong ? 1 : 0;
}
