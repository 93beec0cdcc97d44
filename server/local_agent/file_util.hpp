// Small whole-file helpers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bai_manager/json.hpp"
#include "bai_manager/result.hpp"

namespace bai::server::local {

// Nothing when it cannot be opened; at most `limit` bytes.
std::optional<std::string> read_file(const std::string& path, std::size_t limit);
// The last `limit` bytes; empty when there is no such file.
std::string read_tail(const std::string& path, std::size_t limit);

enum class Durability { Process, Disk };  // survives the end of this process, of the machine
// Whole or not at all: written beside, then renamed.
Status write_file(const std::string& path, std::string_view content, Durability durability);

std::optional<Json> read_json(const std::string& path);

// Valid UTF-8: what does not decode becomes U+FFFD.
std::string clean_utf8(std::string_view bytes);

// The same for a stream: a character cut in two by the end of a piece waits for the next one.
class Utf8Stream {
 public:
  std::string feed(std::string_view bytes);
  std::string finish();  // what waits is not going to be completed

 private:
  std::string rest_;
};

}  // namespace bai::server::local
