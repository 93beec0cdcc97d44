// libFuzzer target for everything that arrives over the agent wire. See README.md beside this file.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "fuzz/agent_wire_check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string wrong = bai::server::wire::fuzz::check_bytes({data, size});
  if (!wrong.empty()) {
    std::fprintf(stderr, "%s\n", wrong.c_str());
    std::abort();
  }
#ifdef BAI_FUZZ_CANARY
  // Planted: the seeds' methods have an underscore each; the fuzzer must make one without.
  if (size > 1 && data[0] == 'h') {
    const auto header = bai::server::wire::decode_header({data + 1, size - 1});
    if (header && header->type == bai::server::wire::MessageType::Cancel &&
        header->method.find('_') == header->method.npos)
      std::abort();
  }
#endif
  return 0;
}
