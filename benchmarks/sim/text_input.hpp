// Input files of the simulator: plain text or gzip, told apart by their content.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai::sim {

inline constexpr std::size_t kInputMax = std::size_t{4} << 30;  // bytes, unpacked

// A file's whole text. NotFound or InvalidArgument with the file's name. A gzip file may have
// several members, and nothing else.
Result<std::string> read_input(const std::string& path);

// File name without folders and without ".gz", ".swf", ".csv", ".txt".
std::string stem_of(std::string_view path);

struct Place {  // in an input, for messages: "<file>:<line>"
  std::string_view file;
  std::size_t line = 0;
};
std::unexpected<Error> fail_at(const Place& place, std::string_view message);

// Walks over lines; '\r' at the end is dropped. Views into `text`, which outlives it.
class Lines {
 public:
  Lines(std::string_view file, std::string_view text) : file_(file), rest_(text) {}
  bool next();
  std::string_view line() const noexcept { return line_; }
  Place place() const noexcept { return {file_, number_}; }

 private:
  std::string_view file_, rest_, line_;
  std::size_t number_ = 0;
};

// Fields between blanks (spaces and tabs).
void split_blanks(std::string_view line, std::vector<std::string_view>& fields);

// A whole number from `min` to `max`; `what` names it in the message.
Result<std::int64_t> read_integer(const Place& place, std::string_view what, std::string_view text,
                                  std::int64_t min, std::int64_t max);

// Rows of comma-separated values without quoting, columns by the names in the first line.
class Csv {
 public:
  // The text must have every column of `required`; more are ignored.
  static Result<Csv> open(std::string_view file, std::string_view text,
                          const std::vector<std::string_view>& required);

  bool has(std::string_view column) const;
  Result<bool> next();  // false at the end; empty lines are skipped
  std::string_view text(std::string_view column) const;  // empty when there is no such column
  Result<std::int64_t> integer(std::string_view column, std::int64_t min, std::int64_t max) const;
  Place place() const noexcept { return lines_.place(); }

 private:
  Csv(std::string_view file, std::string_view text) : lines_(file, text) {}
  std::size_t find(std::string_view column) const;
  void split();

  Lines lines_;
  std::vector<std::string_view> columns_, fields_;
};

}  // namespace bai::sim
