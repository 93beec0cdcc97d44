#include "auth/client_ip.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace bai::auth {
namespace {

struct Address {
  bool v6 = false;
  unsigned char bytes[16] = {};
};

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// IPv4 addresses mapped into IPv6 count as IPv4.
std::optional<Address> parse_address(std::string_view text) {
  const std::string copy(text);
  Address out;
  if (::inet_pton(AF_INET, copy.c_str(), out.bytes) == 1) return out;
  if (::inet_pton(AF_INET6, copy.c_str(), out.bytes) != 1) return std::nullopt;
  static constexpr unsigned char kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::memcmp(out.bytes, kMapped, sizeof kMapped) == 0) {
    Address v4;
    std::memcpy(v4.bytes, out.bytes + 12, 4);
    return v4;
  }
  out.v6 = true;
  return out;
}

std::optional<unsigned> parse_number(std::string_view text, unsigned max) {
  if (text.empty() || text.size() > 3) return std::nullopt;
  unsigned value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<unsigned>(c - '0');
  }
  return value <= max ? std::optional(value) : std::nullopt;
}

// "10.1.*.*"
bool parse_wildcard(std::string_view text, unsigned char* bytes, unsigned char* mask) {
  for (int i = 0; i < 4; ++i) {
    const auto dot = i < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return false;
    const std::string_view part = text.substr(0, dot);
    if (part != "*") {
      const auto value = parse_number(part, 255);
      if (!value) return false;
      bytes[i] = static_cast<unsigned char>(*value);
      mask[i] = 0xff;
    }
    text.remove_prefix(std::min(dot + 1, text.size()));
  }
  return true;
}

}  // namespace

Result<AddressList> AddressList::parse(const std::vector<std::string>& entries) {
  AddressList out;
  for (const std::string& entry : entries) {
    Network network;
    const auto slash = entry.find('/');
    if (entry.find('*') != std::string::npos) {
      if (parse_wildcard(entry, network.bytes, network.mask)) {
        out.networks_.push_back(network);
        continue;
      }
    } else if (const auto address = parse_address(entry.substr(0, slash))) {
      const unsigned width = address->v6 ? 128 : 32;
      const auto length = slash == std::string::npos
                              ? std::optional(width)
                              : parse_number(std::string_view(entry).substr(slash + 1), width);
      if (length) {
        network.v6 = address->v6;
        for (unsigned bit = 0; bit < *length; ++bit) {
          network.mask[bit / 8] =
              static_cast<unsigned char>(network.mask[bit / 8] | (0x80U >> (bit % 8)));
        }
        for (int i = 0; i < 16; ++i) {
          network.bytes[i] = static_cast<unsigned char>(address->bytes[i] & network.mask[i]);
        }
        out.networks_.push_back(network);
        continue;
      }
    }
    return fail(ErrorCode::InvalidArgument,
                "'" + entry +
                    "' is not an address, a network such as 10.0.0.0/8 or a wildcard "
                    "such as 10.1.*.*",
                "bad-address");
  }
  return out;
}

bool AddressList::contains(std::string_view ip) const noexcept {
  const auto address = parse_address(trim(ip));
  if (!address) return false;
  for (const Network& network : networks_) {
    if (network.v6 != address->v6) continue;
    bool same = true;
    for (int i = 0; i < 16 && same; ++i) {
      same = (address->bytes[i] & network.mask[i]) == network.bytes[i];
    }
    if (same) return true;
  }
  return false;
}

std::string client_ip(std::optional<std::string_view> forwarded_for, std::string_view peer,
                      const AddressList& trusted_proxies) {
  if (!forwarded_for || trim(*forwarded_for).empty()) return std::string(peer);
  std::string_view rest = *forwarded_for;
  if (trusted_proxies.empty()) return std::string(trim(rest.substr(0, rest.find(','))));
  std::string_view hop = peer;
  while (trusted_proxies.contains(hop)) {
    const auto comma = rest.rfind(',');
    hop = trim(comma == std::string_view::npos ? rest : rest.substr(comma + 1));
    if (comma == std::string_view::npos) break;
    rest = rest.substr(0, comma);
  }
  return std::string(hop);
}

bool trusts_forwarded(std::string_view peer, const AddressList& trusted_proxies) {
  return trusted_proxies.empty() || trusted_proxies.contains(peer);
}

}  // namespace bai::auth
