// libFuzzer target for the HTTP request parser. See README.md beside this file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "fuzz/http_check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string wrong = bai::http::fuzz::check_bytes(bytes);
  if (!wrong.empty()) {
    std::fprintf(stderr, "%s\n", wrong.c_str());
    std::abort();
  }
#ifdef BAI_FUZZ_CANARY
  // Planted: no seed is a complete chunked request without data, but some are near to one.
  const auto outcome = bai::http::fuzz::run_parser(bytes, {}, [&] { return size; });
  for (const auto& request : outcome.requests) {
    if (request.headers.has("Transfer-Encoding") && request.body.empty()) std::abort();
  }
#endif
  return 0;
}
