#include "agent/curve.hpp"

#include <fmt/format.h>
#include <zmq.h>

#include <array>
#include <fstream>
#include <iterator>

namespace bai::server {
namespace {

constexpr std::size_t kMaxCertificateBytes = 65536;

std::string_view trim(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r");
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

bool is_curve_key(std::string_view text) noexcept {
  if (text.size() != kCurveKeyChars) return false;
  const std::string copy(text);
  std::array<std::uint8_t, 32> bytes{};
  return zmq_z85_decode(bytes.data(), copy.c_str()) != nullptr;
}

Result<CurveKeyPair> parse_curve_certificate(std::string_view text, bool need_secret) {
  CurveKeyPair keys;
  for (std::size_t line_no = 1; !text.empty(); ++line_no) {
    const std::size_t end = text.find('\n');
    const std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    const std::size_t equals = line.find('=');
    if (line.starts_with('#') || equals == line.npos) continue;
    const std::string_view name = trim(line.substr(0, equals));
    if (name != "public-key" && name != "secret-key") continue;
    std::string_view value = trim(line.substr(equals + 1));
    if (value.size() >= 2 && (value[0] == '"' || value[0] == '\'') && value.back() == value[0])
      value = value.substr(1, value.size() - 2);
    if (!is_curve_key(value))
      return fail(ErrorCode::InvalidArgument,
                  fmt::format("Line {}: `{}` must be {} characters of Z85.", line_no, name,
                              kCurveKeyChars));
    (name == "public-key" ? keys.public_key : keys.secret_key) = std::string(value);
  }
  if (keys.public_key.empty())
    return fail(ErrorCode::InvalidArgument, "The CURVE certificate has no `public-key`.");
  if (need_secret && keys.secret_key.empty())
    return fail(ErrorCode::InvalidArgument,
                "The CURVE certificate has no `secret-key`; use the *.key_secret file.");
  return keys;
}

Result<CurveKeyPair> load_curve_certificate(const std::string& path, bool need_secret) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxCertificateBytes + 1, '\0');
  if (!file || !file.read(text.data(), static_cast<std::streamsize>(text.size())).eof())
    return fail(ErrorCode::Unavailable,
                file ? fmt::format("{} is larger than {} bytes: it is no CURVE certificate.", path,
                                   kMaxCertificateBytes)
                     : fmt::format("The CURVE certificate {} cannot be read.", path));
  text.resize(static_cast<std::size_t>(file.gcount()));
  auto keys = parse_curve_certificate(text, need_secret);
  if (!keys) keys.error().message = path + ": " + keys.error().message;
  return keys;
}

Result<CurveKeyPair> generate_curve_key_pair() {
  std::array<char, kCurveKeyChars + 1> public_key{}, secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0)
    return fail(ErrorCode::Internal, "The ZeroMQ library was built without CURVE.");
  return CurveKeyPair{public_key.data(), secret_key.data()};
}

}  // namespace bai::server
