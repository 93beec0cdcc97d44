#include "sim/text_input.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace bai::sim {

namespace {

constexpr unsigned kReadStep = 1U << 20;

struct CloseGz {
  void operator()(gzFile_s* file) const { gzclose(file); }
};

}  // namespace

Result<std::string> read_input(const std::string& path) {
  // Reads text that is not compressed as it is.
  const std::unique_ptr<gzFile_s, CloseGz> file(gzopen(path.c_str(), "rb"));
  if (!file) {
    return fail(ErrorCode::NotFound, fmt::format("{}: cannot be opened: {}.", path,
                                                 errno != 0 ? std::strerror(errno) : "no memory"));
  }
  std::string text;
  for (;;) {
    const std::size_t before = text.size();
    if (before > kInputMax) {
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("{}: holds more than {} bytes.", path, kInputMax));
    }
    text.resize(before + kReadStep);
    const int got = gzread(file.get(), text.data() + before, kReadStep);
    text.resize(before + static_cast<std::size_t>(std::max(got, 0)));
    int code = Z_OK;
    const char* message = gzerror(file.get(), &code);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      const bool system = code == Z_ERRNO;
      return fail(ErrorCode::InvalidArgument, fmt::format("{}: cannot be read: {}.", path,
                                                          system ? std::strerror(errno) : message));
    }
    if (got == 0) return text;
  }
}

std::string stem_of(std::string_view path) {
  if (const auto slash = path.rfind('/'); slash != path.npos) path.remove_prefix(slash + 1);
  for (const std::string_view ending : {".gz", ".swf", ".csv", ".txt"}) {
    if (path.ends_with(ending)) path.remove_suffix(ending.size());
  }
  return std::string(path);
}

std::unexpected<Error> fail_at(const Place& place, std::string_view message) {
  return fail(ErrorCode::InvalidArgument,
              fmt::format("{}:{}: {}", place.file, place.line, message));
}

bool Lines::next() {
  if (rest_.empty()) return false;
  const auto end = rest_.find('\n');
  line_ = rest_.substr(0, end);
  rest_.remove_prefix(end == rest_.npos ? rest_.size() : end + 1);
  if (line_.ends_with('\r')) line_.remove_suffix(1);
  ++number_;
  return true;
}

void split_blanks(std::string_view line, std::vector<std::string_view>& fields) {
  fields.clear();
  for (;;) {
    const auto start = line.find_first_not_of(" \t");
    if (start == line.npos) return;
    line.remove_prefix(start);
    const auto end = std::min(line.find_first_of(" \t"), line.size());
    fields.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

Result<std::int64_t> read_integer(const Place& place, std::string_view what, std::string_view text,
                                  std::int64_t min, std::int64_t max) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < min || value > max) {
    return fail_at(place, fmt::format("{} must be a whole number from {} to {}, not \"{}\".", what,
                                      min, max, text));
  }
  return value;
}

Result<Csv> Csv::open(std::string_view file, std::string_view text,
                      const std::vector<std::string_view>& required) {
  Csv csv(file, text);
  if (!csv.lines_.next())
    return fail_at({file, 1}, "the file is empty; its first line must name the columns.");
  csv.split();
  csv.columns_ = csv.fields_;
  for (const std::string_view column : required) {
    if (csv.has(column)) continue;
    return fail_at(csv.place(), fmt::format("there is no column \"{}\"; there are: {}.", column,
                                            fmt::join(csv.columns_, ", ")));
  }
  return csv;
}

std::size_t Csv::find(std::string_view column) const {
  return static_cast<std::size_t>(std::ranges::find(columns_, column) - columns_.begin());
}

bool Csv::has(std::string_view column) const { return find(column) < columns_.size(); }

void Csv::split() {
  fields_.clear();
  std::string_view line = lines_.line();
  for (;;) {
    const auto comma = line.find(',');
    fields_.push_back(line.substr(0, comma));
    if (comma == line.npos) return;
    line.remove_prefix(comma + 1);
  }
}

Result<bool> Csv::next() {
  do {
    if (!lines_.next()) return false;
  } while (lines_.line().empty());
  split();
  if (fields_.size() != columns_.size()) {
    return fail_at(place(), fmt::format("has {} values; the first line names {} columns.",
                                        fields_.size(), columns_.size()));
  }
  return true;
}

std::string_view Csv::text(std::string_view column) const {
  const std::size_t at = find(column);
  return at < fields_.size() ? fields_[at] : std::string_view();
}

Result<std::int64_t> Csv::integer(std::string_view column, std::int64_t min,
                                  std::int64_t max) const {
  return read_integer(place(), column, text(column), min, max);
}

}  // namespace bai::sim
