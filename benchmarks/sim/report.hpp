// What a run prints: tables, JSON, progress.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/json.hpp"

namespace bai::sim {

struct Column {
  std::string key, title;
};

// Aligned text; numbers to the right. A member that is missing is shown as "-".
std::string table(const std::vector<Column>& columns, const std::vector<Json>& rows);

std::vector<Column> batch_columns();
std::vector<Column> openb_columns();

// One object, or a list of several.
std::string json_text(const std::vector<Json>& rows);

// Says on stderr how far a run is, once it has taken a while.
class ProgressReport {
 public:
  explicit ProgressReport(std::string what, std::FILE* out = stderr);
  ~ProgressReport();
  ProgressReport(const ProgressReport&) = delete;
  ProgressReport& operator=(const ProgressReport&) = delete;
  void at(std::size_t done, std::size_t all, std::size_t waiting);

 private:
  std::string what_;
  std::FILE* out_;
  bool terminal_;
  std::chrono::steady_clock::time_point next_;
  std::size_t width_ = 0;
};

}  // namespace bai::sim
