#include "ctl/output.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>

#include "bai_manager/resources.hpp"
#include "bai_manager/time.hpp"
#include "ctl/client.hpp"

namespace bai::ctl {

std::string Table::str() const {
  std::vector<std::size_t> width(rows_.front().size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += i + 1 < row.size() ? fmt::format("{:<{}}  ", row[i], width[i]) : row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

int report(const Error& error) {
  static const decltype(error.data) session_not_found = {{"error_code", "session_read_not-found"}};
  fmt::print(stderr, "error: {}\n", error.message);
  switch (error.code) {
    case ErrorCode::Unavailable:  // a server that cannot serve this now is there, all the same
      return error.kind == kUnreachableKind ? kUnreachable : kFailed;
    case ErrorCode::Unauthenticated:
      fmt::print(stderr, "Check the keys with: baictl login\n");
      return kDenied;
    case ErrorCode::PermissionDenied:
      return kDenied;
    case ErrorCode::NotFound:
      if (error.kind == kNotLoggedInKind) return kDenied;
      if (error.data == session_not_found)
        fmt::print(stderr, "See your sessions with: baictl session ls --all\n");
      return kFailed;
    default:
      if (error.kind == "session-already-exists")
        fmt::print(stderr, "Choose another name with -t, or leave it out.\n");
      return kFailed;
  }
}

std::string slots_text(const Json& slots) {
  std::string out;
  for (const auto& [name, amount] : slots.members()) {
    std::string text(amount.as_string());
    if (name == "mem") {
      const auto bytes = parse_binary_size(text);
      if (bytes) text = format_binary_size(*bytes);
    }
    if (text != "0") out += (out.empty() ? "" : ", ") + name + " " + text;
  }
  return out.empty() ? "-" : out;
}

std::string age_text(const Json& created_at) {
  const auto created = parse_time(created_at.as_string());
  if (!created) return "-";
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const std::int64_t seconds_old = std::chrono::duration_cast<std::chrono::seconds>(now).count() -
                                   created->at.ns / 1'000'000'000;
  if (seconds_old < 120) return fmt::format("{}s", std::max<std::int64_t>(0, seconds_old));
  if (seconds_old < 2 * 3600) return fmt::format("{}m", seconds_old / 60);
  if (seconds_old < 48 * 3600) return fmt::format("{}h", seconds_old / 3600);
  return fmt::format("{}d", seconds_old / 86400);
}

}  // namespace bai::ctl
