// The bounded log of one kernel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "local_agent/fd.hpp"

namespace bai::server::local {

// Appends raw bytes; when the file would grow past `max_bytes`, the newer half of it is kept.
// A full disk loses log output and nothing else.
class ConsoleLog {
 public:
  ConsoleLog(std::string path, std::int64_t max_bytes);
  void append(std::string_view bytes);

 private:
  void reopen();

  std::string path_;
  std::int64_t max_bytes_;
  std::int64_t size_ = 0;
  Fd fd_;
};

}  // namespace bai::server::local
