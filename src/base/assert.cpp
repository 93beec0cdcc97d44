#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace bai::base {

void assertion_failed(const char* condition, const char* message, const char* file,
                      int line) noexcept {
  std::fprintf(stderr, "%s:%d: assertion `%s` failed: %s\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace bai::base
