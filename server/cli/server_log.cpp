#include "server_log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace bai::server {

ServerLog::ServerLog(std::string_view level) {
  auto logger = spdlog::stderr_color_mt("server");
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  logger->set_level(spdlog::level::from_str(std::string(level)));
  spdlog::set_default_logger(std::move(logger));
}

void ServerLog::write(LogLevel level, std::string_view component,
                      std::string_view message) noexcept {
  const auto mapped = level == LogLevel::Debug  ? spdlog::level::debug
                      : level == LogLevel::Info ? spdlog::level::info
                      : level == LogLevel::Warn ? spdlog::level::warn
                                                : spdlog::level::err;
  spdlog::log(mapped, "{}: {}", component, message);
}

}  // namespace bai::server
