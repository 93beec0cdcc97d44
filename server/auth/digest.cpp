#include "auth/digest.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

namespace bai::auth {
namespace {

struct Names {
  std::string_view ours;
  const char* openssl;
};
constexpr Names kNames[] = {
    {"md5", "MD5"},           {"sha1", "SHA1"},           {"sha224", "SHA2-224"},
    {"sha256", "SHA2-256"},   {"sha384", "SHA2-384"},     {"sha512", "SHA2-512"},
    {"sha3_224", "SHA3-224"}, {"sha3_256", "SHA3-256"},   {"sha3_384", "SHA3-384"},
    {"sha3_512", "SHA3-512"}, {"blake2b", "BLAKE2B-512"}, {"blake2s", "BLAKE2S-256"},
};
static_assert(std::size(kNames) == kHashAlgorithmCount);

const Names& names_of(HashAlgorithm algorithm) {
  return kNames[static_cast<std::size_t>(algorithm)];
}

void require(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "the cryptographic library failed: %s\n", what);
  std::abort();
}

struct Free {
  void operator()(EVP_MAC_CTX* context) const noexcept { EVP_MAC_CTX_free(context); }
  void operator()(EVP_MAC* mac) const noexcept { EVP_MAC_free(mac); }
  void operator()(EVP_MD* md) const noexcept { EVP_MD_free(md); }
  void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};

using MacContext = std::unique_ptr<EVP_MAC_CTX, Free>;

MacContext make_mac_context(HashAlgorithm algorithm) {
  const std::unique_ptr<EVP_MAC, Free> mac(EVP_MAC_fetch(nullptr, "HMAC", nullptr));
  require(mac != nullptr, "no HMAC");
  MacContext context(EVP_MAC_CTX_new(mac.get()));
  require(context != nullptr, "no HMAC context");
  const OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                       const_cast<char*>(names_of(algorithm).openssl), 0),
      OSSL_PARAM_construct_end()};
  require(EVP_MAC_CTX_set_params(context.get(), params) == 1, "no such digest");
  return context;
}

// Fetching an algorithm costs more than using it.
EVP_MAC_CTX* mac_context(HashAlgorithm algorithm) {
  thread_local std::array<MacContext, kHashAlgorithmCount> contexts;
  MacContext& context = contexts[static_cast<std::size_t>(algorithm)];
  if (!context) context = make_mac_context(algorithm);
  return context.get();
}

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

}  // namespace

std::optional<HashAlgorithm> parse_hash(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kHashAlgorithmCount; ++i) {
    if (kNames[i].ours == name) return static_cast<HashAlgorithm>(i);
  }
  return std::nullopt;
}

std::string_view to_string(HashAlgorithm algorithm) noexcept { return names_of(algorithm).ours; }

std::string Digest::hex() const {
  static constexpr std::string_view kHex = "0123456789abcdef";
  std::string out(size_ * 2, '\0');
  for (std::size_t i = 0; i < size_; ++i) {
    out[2 * i] = kHex[bytes_[i] >> 4];
    out[2 * i + 1] = kHex[bytes_[i] & 15];
  }
  return out;
}

Digest hash(HashAlgorithm algorithm, std::string_view data) {
  const std::unique_ptr<EVP_MD, Free> md(
      EVP_MD_fetch(nullptr, names_of(algorithm).openssl, nullptr));
  const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  require(md && context, "no such digest");
  Digest out;
  unsigned size = 0;
  require(EVP_DigestInit_ex2(context.get(), md.get(), nullptr) == 1 &&
              EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1 &&
              EVP_DigestFinal_ex(context.get(), out.bytes_.data(), &size) == 1,
          "digest");
  out.size_ = size;
  return out;
}

Digest hmac(HashAlgorithm algorithm, std::string_view key, std::string_view data) {
  EVP_MAC_CTX* context = mac_context(algorithm);
  // A null key would mean "the previous one".
  static constexpr unsigned char kEmpty = 0;
  const auto* key_bytes =
      key.empty() ? &kEmpty : reinterpret_cast<const unsigned char*>(key.data());
  Digest out;
  require(EVP_MAC_init(context, key_bytes, key.size(), nullptr) == 1 &&
              EVP_MAC_update(context, reinterpret_cast<const unsigned char*>(data.data()),
                             data.size()) == 1 &&
              EVP_MAC_final(context, out.bytes_.data(), &out.size_, out.bytes_.size()) == 1,
          "HMAC");
  return out;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string base64url_encode(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (char c : bytes) {
    bits = (bits << 8) | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out += kAlphabet[(bits >> (count - 6)) & 63];
  }
  if (count > 0) out += kAlphabet[(bits << (6 - count)) & 63];
  return out;
}

std::optional<std::string> base64url_decode(std::string_view text) {
  if (text.size() % 4 == 1) return std::nullopt;
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const auto value = kAlphabet.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>((bits >> count) & 0xff);
  }
  const std::uint32_t rest = bits & ((1U << count) - 1U);
  if (rest != 0) return std::nullopt;  // two texts would decode to the same bytes
  return out;
}

}  // namespace bai::auth
