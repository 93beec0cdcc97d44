// Programmer errors end the process, in release builds too: going on would persist a broken state.
#pragma once

namespace bai::base {

// Prints "file:line: assertion `condition` failed: message" to stderr and aborts.
[[noreturn]] void assertion_failed(const char* condition, const char* message, const char* file,
                                   int line) noexcept;

}  // namespace bai::base

// `message` is a C string literal; it says what the caller did wrong.
#define BAI_ASSERT(condition, message) \
  (static_cast<bool>(condition)        \
       ? static_cast<void>(0)          \
       : ::bai::base::assertion_failed(#condition, (message), __FILE__, __LINE__))
