// Streaming msgpack output. Only the codec's .cpp files include this: msgpack.hpp is heavy.
#pragma once

#define MSGPACK_NO_BOOST
#include <msgpack.hpp>

#include "agent/value.hpp"

namespace bai::server::wire {

class Packer {
 public:
  Packer() : packer_(buffer_) {}

  Packer& nil() { return packer_.pack_nil(), *this; }
  Packer& boolean(bool b) { return b ? packer_.pack_true() : packer_.pack_false(), *this; }
  Packer& integer(std::int64_t n) { return packer_.pack_int64(n), *this; }
  Packer& real(double d) { return packer_.pack_double(d), *this; }
  Packer& array(std::size_t n) { return packer_.pack_array(size32(n)), *this; }
  Packer& map(std::size_t n) { return packer_.pack_map(size32(n)), *this; }
  // Invalid UTF-8 is repaired: a Python peer that cannot decode a message stops answering for good.
  Packer& str(std::string_view s) {
    for (const char c : s)
      if (static_cast<unsigned char>(c) >= 0x80) return raw_str(valid_utf8(s));
    return raw_str(s);
  }
  Packer& str_or_nil(std::string_view s) { return s.empty() ? nil() : str(s); }
  Packer& bin(ByteView b) {
    packer_.pack_bin(size32(b.size()));
    packer_.pack_bin_body(chars(b), size32(b.size()));
    return *this;
  }
  Packer& ext(std::int8_t type, ByteView b) {
    packer_.pack_ext(b.size(), type);
    packer_.pack_ext_body(chars(b), size32(b.size()));
    return *this;
  }
  // Deeper than `max_depth`: an incomplete document and `failed()`.
  Packer& json(const Json& value, int max_depth = Limits{}.max_depth) {
    if (max_depth < 0) return failed_ = true, nil();
    if (value.is_bool()) return boolean(value.as_bool());
    if (value.is_int()) return integer(value.as_int());
    if (value.is_number()) return real(value.as_double());
    if (value.is_string()) return str(value.as_string());
    if (value.is_array()) {
      array(value.size());
      for (const Json& item : value.items()) json(item, max_depth - 1);
      return *this;
    }
    if (value.is_object()) {
      map(value.size());
      for (const auto& [key, member] : value.members()) str(key).json(member, max_depth - 1);
      return *this;
    }
    return nil();
  }

  bool failed() const noexcept { return failed_; }
  ByteView view() const noexcept {
    return {reinterpret_cast<const std::uint8_t*>(buffer_.data()), buffer_.size()};
  }
  Bytes take() const { return {view().begin(), view().end()}; }

 private:
  Packer& raw_str(std::string_view s) {
    packer_.pack_str(size32(s.size()));
    packer_.pack_str_body(s.data(), size32(s.size()));
    return *this;
  }
  // Frames are limited to far less than 4 GiB before anything is packed for sending.
  static std::uint32_t size32(std::size_t n) noexcept { return static_cast<std::uint32_t>(n); }
  static const char* chars(ByteView b) noexcept { return reinterpret_cast<const char*>(b.data()); }

  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> packer_;
  bool failed_ = false;
};

}  // namespace bai::server::wire
