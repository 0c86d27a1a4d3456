// Check that an artefact was compiled for this kind of processor.
#pragma once

#include <sstream>
#include <string>
#include <unordered_map>

#include "fastreg/error.hpp"

namespace fastreg::detail {

/// Whether this processor has an instruction set such as "AVX512"; true for unknown names.
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

/// Throw `Error` (unsupported) if an artefact was compiled for another kind of machine.
///
/// An artefact is machine code for the processor that it was exported on. On a processor without its instructions it
/// would terminate the process. `facts` are the entries that torch writes in addition to the metadata of fastreg.
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
