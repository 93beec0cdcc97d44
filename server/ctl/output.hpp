// What people and programs get to see.
#pragma once

#include <string>
#include <vector>

#include "bai_manager/json.hpp"
#include "bai_manager/result.hpp"

namespace bai::ctl {

// Exit statuses. `run` and `session exec` end with the program's own status instead when it ran.
enum Exit : int {
  kOk = 0,
  kFailed = 1,       // the server refused or the request failed
  kUsage = 2,        // the command line is wrong
  kUnreachable = 3,  // no server there
  kDenied = 4,       // not logged in, wrong keys, not allowed
};

// Columns as wide as they need, two spaces between; header in capitals.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string str() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "error: ..." on stderr with what to do about it; the exit status that fits.
int report(const Error& error);

std::string slots_text(const Json& slots);     // "cpu 2, mem 4g"
std::string age_text(const Json& created_at);  // "3m", "2h", "5d"

}  // namespace bai::ctl
