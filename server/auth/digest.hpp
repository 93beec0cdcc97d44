// Message digests and keyed digests, by the names that clients use for them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace bai::auth {

enum class HashAlgorithm : std::uint8_t {
  Md5,
  Sha1,
  Sha224,
  Sha256,
  Sha384,
  Sha512,
  Sha3_224,
  Sha3_256,
  Sha3_384,
  Sha3_512,
  Blake2b,
  Blake2s,
};
inline constexpr std::size_t kHashAlgorithmCount =
    static_cast<std::size_t>(HashAlgorithm::Blake2s) + 1;

// "sha256", "sha3_512", ... in lower case. Extendable-output functions have no fixed size, so no
// keyed digest, and are not among them.
std::optional<HashAlgorithm> parse_hash(std::string_view name) noexcept;
std::string_view to_string(HashAlgorithm algorithm) noexcept;

class Digest {
 public:
  static constexpr std::size_t kMaxBytes = 64;
  std::span<const std::uint8_t> bytes() const noexcept { return {bytes_.data(), size_}; }
  std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(bytes_.data()), size_};
  }
  std::string hex() const;  // lower case

 private:
  friend Digest hash(HashAlgorithm, std::string_view);
  friend Digest hmac(HashAlgorithm, std::string_view, std::string_view);
  std::array<std::uint8_t, kMaxBytes> bytes_{};
  std::size_t size_ = 0;
};

// Thread-safe; each thread keeps its own library contexts. They assert when the cryptographic
// library itself fails, which means that it is not usable at all.
Digest hash(HashAlgorithm algorithm, std::string_view data);
Digest hmac(HashAlgorithm algorithm, std::string_view key, std::string_view data);

// Takes the same time wherever the texts differ (but not for different lengths).
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

std::string base64url_encode(std::string_view bytes);  // without padding
// Empty for anything that is not canonical unpadded base64url.
std::optional<std::string> base64url_decode(std::string_view text);

}  // namespace bai::auth
