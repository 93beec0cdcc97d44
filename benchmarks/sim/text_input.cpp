#include "sim/text_input.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace bai::sim {

namespace {

constexpr std::size_t kReadStep = 1U << 20;

std::unexpected<Error> unreadable(const std::string& path, std::string_view why) {
  return fail(ErrorCode::InvalidArgument, fmt::format("{}: cannot be read: {}.", path, why));
}

Result<std::string> read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             &std::fclose);
  if (!file) {
    return fail(ErrorCode::NotFound,
                fmt::format("{}: cannot be opened: {}.", path, std::strerror(errno)));
  }
  std::string bytes;
  for (;;) {
    const std::size_t before = bytes.size();
    if (before > kInputMax) {
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("{}: holds more than {} bytes.", path, kInputMax));
    }
    bytes.resize(before + kReadStep);
    bytes.resize(before + std::fread(bytes.data() + before, 1, kReadStep, file.get()));
    if (std::ferror(file.get()) != 0) return unreadable(path, std::strerror(errno));
    if (bytes.size() == before) return bytes;
  }
}

bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

class Inflater {
 public:
  Inflater() { is_ready_ = inflateInit2(&stream_, 15 + 16) == Z_OK; }  // 16: gzip
  ~Inflater() {
    if (is_ready_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Unpacks one member, which is dropped from `packed`. Empty when it was whole, or what is wrong.
  std::string_view next(std::string_view& packed, std::string& text) {
    if (!is_ready_ || inflateReset(&stream_) != Z_OK) return "no memory";
    for (;;) {
      if (text.size() > kInputMax) return "it is too large when it is unpacked";
      const std::size_t given = std::min(packed.size(), kReadStep);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
      stream_.avail_in = static_cast<uInt>(given);
      stream_.next_out = reinterpret_cast<Bytef*>(unpacked_.data());
      stream_.avail_out = static_cast<uInt>(unpacked_.size());
      const int code = inflate(&stream_, Z_NO_FLUSH);
      const std::string_view made(unpacked_.data(), unpacked_.size() - stream_.avail_out);
      text.append(made);
      packed.remove_prefix(given - stream_.avail_in);
      if (code == Z_STREAM_END) return {};
      if (code == Z_BUF_ERROR || (code == Z_OK && packed.empty() && made.empty())) {
        return "its compressed data ends too early";
      }
      if (code != Z_OK)
        return stream_.msg != nullptr ? stream_.msg : "its compressed data is wrong";
    }
  }

 private:
  std::vector<char> unpacked_ = std::vector<char>(kReadStep);
  z_stream stream_{};
  bool is_ready_ = false;
};

}  // namespace

Result<std::string> read_input(const std::string& path) {
  auto bytes = read_file(path);
  if (!bytes || !is_gzip(*bytes)) return bytes;
  std::string text;
  Inflater inflater;
  std::string_view packed = *bytes;
  while (!packed.empty()) {
    if (!is_gzip(packed)) {
      return unreadable(path, fmt::format("{} bytes that are not compressed follow after its end",
                                          packed.size()));
    }
    const std::string_view wrong = inflater.next(packed, text);
    if (!wrong.empty()) return unreadable(path, wrong);
  }
  return text;
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
