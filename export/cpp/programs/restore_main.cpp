#include "restore_main.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "fastreg/checks.hpp"
#include "fastreg/version.h"
#include "npy_file.hpp"
#include "png_file.h"

namespace fastreg::programs {
namespace {

constexpr const char* usage =
    " ARTEFACT INPUT.png OUTPUT.png [options]\n"
    "\n"
    "Restores one image. Grey or RGB, 8 or 16 bits, as it came; alpha is kept where the size is.\n"
    "\n"
    "  --sigma S      standard deviation of the noise in units of [0, 1], such as 0.1 or 25/255\n"
    "  --weight W     weight of the prior; by default what it was tuned to\n"
    "  --psf P        where the artefact takes a PSF: gaussian:SIZE:STD, a .npy [height, width], or a grey PNG\n"
    "  --mask FILE    where it takes a mask: a PNG, not zero where a pixel is known\n";

/// A PNG in memory.
class Picture {
 public:
  explicit Picture(const std::string& path) {
    char message[PNG_FILE_MESSAGE];
    if (!png_file_read(path.c_str(), &file_, message)) throw std::runtime_error("cannot read " + path + ": " + message);
  }
  /// A black picture of another size and number of channels, with the bit depth and the colour profile of `like`.
  Picture(const Picture& like, std::int64_t height, std::int64_t width, int colours) {
    file_.height = static_cast<std::uint32_t>(height);
    file_.width = static_cast<std::uint32_t>(width);
    file_.channels = colours;
    file_.bits = like.file_.bits;
    file_.samples =
        static_cast<std::uint16_t*>(std::calloc(pixels() * static_cast<std::size_t>(colours), sizeof(std::uint16_t)));
    if (file_.samples == nullptr) throw std::bad_alloc();
    if (like.file_.icc == nullptr || colours != like.colours()) return;
    file_.icc = static_cast<unsigned char*>(std::malloc(like.file_.icc_size));
    if (file_.icc == nullptr) return;
    std::copy_n(like.file_.icc, like.file_.icc_size, file_.icc);
    file_.icc_size = like.file_.icc_size;
  }
  Picture(const Picture&) = delete;
  Picture& operator=(const Picture&) = delete;
  ~Picture() { png_file_free(&file_); }

  std::int64_t height() const { return file_.height; }
  std::int64_t width() const { return file_.width; }
  std::size_t pixels() const { return static_cast<std::size_t>(height() * width()); }
  /// Channels without alpha.
  int colours() const { return file_.channels - (file_.channels + 1) % 2; }

  float value(std::size_t pixel, int colour) const { return static_cast<float>(sample(pixel, colour)) / top(); }
  void set(std::size_t pixel, int colour, float value) {
    sample(pixel, colour) = static_cast<std::uint16_t>(std::nearbyint(std::clamp(value, 0.0F, 1.0F) * top()));
  }

  void write(const std::string& path) const {
    char message[PNG_FILE_MESSAGE];
    if (!png_file_write(path.c_str(), &file_, message))
      throw std::runtime_error("cannot write " + path + ": " + message);
  }

 private:
  float top() const { return file_.bits == 16 ? 65535.0F : 255.0F; }
  std::uint16_t& sample(std::size_t pixel, int colour) const {
    return file_.samples[pixel * static_cast<std::size_t>(file_.channels) + static_cast<std::size_t>(colour)];
  }

  png_file file_{};
};

/// The PSF of an option: gaussian:SIZE:STD in pixels, centred at SIZE / 2, a .npy, or a grey PNG.
Array read_psf(const std::string& text) {
  if (text.size() > 4 && text.compare(text.size() - 4, 4, ".npy") == 0) return read_npy(text);
  Array psf;
  if (text.rfind("gaussian:", 0) != 0) {
    const Picture picture(text);
    psf.shape = {picture.height(), picture.width()};
    for (std::size_t k = 0; k < picture.pixels(); ++k) {
      if (picture.value(k, 0) != picture.value(k, picture.colours() - 1))
        throw UsageError("the PSF " + text + " is a colour image, expected a grey one");
      psf.values.push_back(picture.value(k, 0));
    }
    return psf;
  }
  const std::size_t colon = text.find(':', 9);
  if (colon == std::string::npos) throw UsageError("a Gaussian PSF is written gaussian:SIZE:STD, got \"" + text + "\"");
  const std::int64_t size = parse_count("the size of a PSF", text.substr(9, colon - 9));
  const double std = parse_number("the standard deviation of a PSF", text.substr(colon + 1));
  if (size > 4096) throw UsageError("the size of a PSF must be at most 4096, got " + text);
  psf.shape = {size, size};
  const auto tap = [&](std::int64_t k) {
    return std::exp(-0.5 * std::pow(static_cast<double>(k - size / 2) / std, 2));
  };
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t j = 0; j < size; ++j) psf.values.push_back(static_cast<float>(tap(i) * tap(j)));
  return psf;
}

/// A mask from an image: one where a channel is not zero, for each entry and channel of the artefact's input.
Array read_mask(const std::string& path, const Port& port, const Job& job) {
  const Picture picture(path);
  if (picture.height() != job.shape[2] || picture.width() != job.shape[3])
    throw UsageError("the mask " + path + " has another size than the image");
  Array mask{{}, {job.shape[0], port.shape[1].maximum, job.shape[2], job.shape[3]}};
  bool any = false;
  for (std::int64_t plane = 0; plane < mask.shape[0] * mask.shape[1]; ++plane)
    for (std::size_t k = 0; k < picture.pixels(); ++k) {
      float known = 0;
      for (int c = 0; c < picture.colours(); ++c) known = std::max(known, picture.value(k, c));
      mask.values.push_back(known > 0 ? 1.0F : 0.0F);
      any |= known > 0;
    }
  if (!any) throw UsageError("the mask " + path + " is zero everywhere, expected non-zero where a pixel is known");
  return mask;
}

/// Arrange the channels: grey is repeated for a prior for colour images; colours are restored one by one by a prior for
/// grey images.
void arrange(const Picture& picture, const Metadata& metadata, Job& job) {
  const std::int64_t channels = metadata.at("y").shape[1].maximum, restored = metadata.output.shape[1].maximum;
  if (channels != restored && picture.colours() != channels)
    throw UsageError("this artefact for " + metadata.task + " takes a picture of " + std::to_string(channels) +
                     " channel, this one has " + std::to_string(picture.colours()));
  const bool split = channels == 1 && restored == 1;
  job.shape = {split ? picture.colours() : 1, channels, picture.height(), picture.width()};
  for (std::int64_t plane = 0; plane < job.shape[0] * channels; ++plane)
    for (std::size_t k = 0; k < picture.pixels(); ++k)
      job.y.push_back(picture.value(k, picture.colours() == 1 ? 0 : static_cast<int>(plane)));
  job.result = detail::result_shape(metadata, job.shape);
}

/// Copy the middle of the result, or all of it, to a picture; for a grey picture, the mean of the channels.
void collect(const std::vector<float>& x, const Job& job, Picture& picture) {
  const std::int64_t planes = job.result[0] * job.result[1], height = job.result[2], width = job.result[3];
  const std::int64_t top = (height - picture.height()) / 2, left = (width - picture.width()) / 2;
  for (std::int64_t k = 0; k < picture.height() * picture.width(); ++k) {
    const std::int64_t i = top + k / picture.width(), j = left + k % picture.width();
    const auto value = [&](std::int64_t plane) {
      return x[static_cast<std::size_t>((plane * height + i) * width + j)];
    };
    float mean = 0;
    for (std::int64_t plane = 0; plane < planes; ++plane) mean += value(plane) / static_cast<float>(planes);
    for (int c = 0; c < picture.colours(); ++c)
      picture.set(static_cast<std::size_t>(k), c, picture.colours() == 1 ? mean : value(c));
  }
}

/// Write the result: cropped to the observation if the pixels have the same size, else all of it.
void deliver(const std::vector<float>& x, const Job& job, const Metadata& metadata, Picture& source,
             const std::string& path) {
  const bool enlarged = metadata.output.shape[2].scale != 1 || metadata.output.shape[3].scale != 1;
  if (!enlarged && job.shape[1] == job.result[1]) {
    collect(x, job, source);
    source.write(path);
    return;
  }
  const int colours = job.shape[1] == job.result[1] ? source.colours() : static_cast<int>(job.result[1]);
  Picture result(source, enlarged ? job.result[2] : source.height(), enlarged ? job.result[3] : source.width(),
                 colours);
  collect(x, job, result);
  result.write(path);
}

/// Checks that do not depend on the image.
void prepare(const Options& options, const Metadata& metadata, Job& job) {
  if (options.values.count("sigma") != 0)
    job.sigma = parse_sigma(options.get("sigma"));
  else if (metadata.default_sigma)
    job.sigma = *metadata.default_sigma;
  else
    throw UsageError(metadata.task + " needs --sigma: a number in units of [0, 1] such as 0.1 or 25/255");
  if (options.values.count("weight") != 0) job.weight = parse_number("weight", options.get("weight"));
  if (metadata.at("y").is_complex())
    throw UsageError("this artefact for " + metadata.task + " takes complex measurements, which no PNG holds");
  for (const char* content : {"psf", "mask"}) {
    const bool given = options.values.count(content) != 0;
    const bool taken = std::any_of(metadata.inputs.begin(), metadata.inputs.end(),
                                   [&](const Port& port) { return port.content == content; });
    if (given && !taken) throw UsageError("this artefact for " + metadata.task + " takes no --" + content);
    if (!given && taken) throw UsageError("this artefact for " + metadata.task + " needs --" + content);
  }
}

}  // namespace

int restore_main(int count, char** arguments, const Program& program, const Open& open) {
  int failed = 2;
  std::vector<std::string> known = {"sigma", "weight", "psf", "mask", "help", "version"};
  known.insert(known.end(), program.options.begin(), program.options.end());
  try {
    const Options options = parse_options(count, arguments, known);
    if (options.values.count("help") != 0)
      return std::printf("usage: %s%s%s  --help, --version\n", program.name.c_str(), usage, program.usage.c_str()) > 0
                 ? 0
                 : 1;
    if (options.values.count("version") != 0) return std::printf("%s\n", FASTREG_VERSION) > 0 ? 0 : 1;
    if (options.names.size() != 3) throw UsageError("expected ARTEFACT INPUT.png OUTPUT.png, see --help");
    const std::unique_ptr<Backend> backend = open(options.names[0], options);
    const Metadata& metadata = backend->metadata();
    Job job;
    prepare(options, metadata, job);
    for (const Port& port : metadata.inputs)
      if (port.content == "psf") job.inputs[port.name] = read_psf(options.get("psf"));
    failed = 1;
    Picture picture(options.names[1]);
    arrange(picture, metadata, job);
    for (const Port& port : metadata.inputs)
      if (port.content == "mask") job.inputs[port.name] = read_mask(options.get("mask"), port, job);
    deliver(backend->run(job), job, metadata, picture, options.names[2]);
    return 0;
  } catch (const UsageError& error) {
    failed = 2;
    std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program.name.c_str(), error.what());
  }
  return failed;
}

}  // namespace fastreg::programs
