#include "local_agent/tar_writer.hpp"

#include <fmt/core.h>

#include <array>
#include <cstring>

namespace bai::server::local {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kNameBytes = 100;

// The fields of a header, by offset and width.
struct Field {
  std::size_t at, width;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kTime{136, 12}, kSum{148, 8}, kLink{157, 100}, kMagic{257, 8};
constexpr std::size_t kTypeAt = 156;

using Header = std::array<char, kBlock>;

void put_text(Header& header, Field field, std::string_view text) {
  std::memcpy(header.data() + field.at, text.data(), std::min(text.size(), field.width));
}

void put_octal(Header& header, Field field, std::uint64_t value) {
  put_text(header, field, fmt::format("{:0{}o}", value, field.width - 1));
}

}  // namespace

void TarWriter::block_of(std::string_view content) {
  out_.insert(out_.end(), content.begin(), content.end());
  out_.resize((out_.size() + kBlock - 1) / kBlock * kBlock, 0);
}

void TarWriter::long_text(char type, const std::string& text) {
  struct stat none{};
  header("././@LongLink", none, type, text.size() + 1, "");
  block_of(std::string_view(text.c_str(), text.size() + 1));
}

void TarWriter::header(const std::string& name, const struct stat& info, char type,
                       std::size_t size, const std::string& link) {
  if (name.size() > kNameBytes) long_text('L', name);
  if (link.size() > kNameBytes) long_text('K', link);
  Header header{};
  put_text(header, kName, name);
  put_octal(header, kMode, info.st_mode & 07777U);
  put_octal(header, kUid, info.st_uid & 07777777U);
  put_octal(header, kGid, info.st_gid & 07777777U);
  put_octal(header, kSize, size);
  put_octal(header, kTime, info.st_mtime > 0 ? static_cast<std::uint64_t>(info.st_mtime) : 0);
  put_text(header, kSum, "        ");
  header[kTypeAt] = type;
  put_text(header, kLink, link);
  put_text(header, kMagic, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put_text(header, kSum, std::string_view(fmt::format("{:06o}", sum) + std::string("\0 ", 2)));
  out_.insert(out_.end(), header.begin(), header.end());
}

void TarWriter::add_directory(const std::string& name, const struct stat& info) {
  header(name + "/", info, '5', 0, "");
}

void TarWriter::add_file(const std::string& name, const struct stat& info,
                         std::string_view content) {
  header(name, info, '0', content.size(), "");
  block_of(content);
}

void TarWriter::add_link(const std::string& name, const struct stat& info,
                         const std::string& target) {
  header(name, info, '2', 0, target);
}

Bytes TarWriter::finish() {
  out_.resize(out_.size() + 2 * kBlock, 0);
  return std::move(out_);
}

}  // namespace bai::server::local
