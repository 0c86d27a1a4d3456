// Whether this processor can run what an artefact was compiled for.
#pragma once

#include <sstream>
#include <string>
#include <unordered_map>

#include "fastreg/error.hpp"

namespace fastreg::detail {

/// Whether this processor has the instructions of a word such as "AVX512"; true for words that are not known.
inline bool has_instructions([[maybe_unused]] const std::string& word) {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  if (word == "AVX2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (word == "AVX512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (word == "AVX512_VNNI") return __builtin_cpu_supports("avx512vnni") != 0;
  if (word == "AVX512_BF16") return __builtin_cpu_supports("avx512bf16") != 0;
#endif
  return true;
}

/// Throw `Error` (unsupported) where an artefact was compiled for another kind of machine.
///
/// An artefact is machine code made for the processor it was exported on; run where its instructions are missing it
/// would end the process. `facts` are the entries that torch wrote beside the metadata of fastreg.
inline void check_machine(const std::unordered_map<std::string, std::string>& facts) {
  const auto fact = [&](const char* key) {
    const auto found = facts.find(key);
    return found == facts.end() ? std::string() : found->second;
  };
#if defined(__x86_64__)
  const std::string here = "x86_64";
#elif defined(__aarch64__)
  const std::string here = "aarch64";
#else
  const std::string here;
#endif
  const std::string machine = fact("AOTI_MACHINE");
  if (!here.empty() && !machine.empty() && machine != here)
    fail(Code::unsupported, "the artefact was compiled for ", machine, ", this machine is ", here);
  std::istringstream words(fact("AOTI_CPU_ISA"));
  for (std::string word; words >> word;)
    if (!has_instructions(word))
      fail(Code::unsupported, "the artefact was compiled for processors with ", word, ", which this one lacks");
}

}  // namespace fastreg::detail
