// The server's log lines: time, level, component, message on stderr.
#pragma once

#include <string_view>

#include "bai_manager/env.hpp"

namespace bai::server {

class ServerLog : public LogSink {
 public:
  explicit ServerLog(std::string_view level);  // of logging.level
  void write(LogLevel level, std::string_view component,
             std::string_view message) noexcept override;
};

}  // namespace bai::server
