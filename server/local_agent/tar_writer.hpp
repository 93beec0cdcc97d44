// Writes tar archives (ustar, with GNU entries for names over 100 bytes).
#pragma once

#include <sys/stat.h>

#include <span>
#include <string>
#include <string_view>

#include "bai_manager/storage.hpp"

namespace bai::server::local {

class TarWriter {
 public:
  void add_directory(const std::string& name, const struct stat& info);
  void add_file(const std::string& name, const struct stat& info, std::string_view content);
  void add_link(const std::string& name, const struct stat& info, const std::string& target);
  Bytes finish();  // once, last

 private:
  void header(const std::string& name, const struct stat& info, char type, std::size_t size,
              const std::string& link);
  void long_text(char type, const std::string& text);
  void block_of(std::string_view content);

  Bytes out_;
};

}  // namespace bai::server::local
