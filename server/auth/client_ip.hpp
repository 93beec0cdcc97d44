// Whose request it is when proxies stand between, and who may come from where.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/result.hpp"

namespace bai::auth {

// Addresses given as single ones ("10.0.0.1"), networks ("10.0.0.0/8", "fd00::/8") or IPv4
// wildcards ("10.1.*.*").
class AddressList {
 public:
  static Result<AddressList> parse(const std::vector<std::string>& entries);
  bool contains(std::string_view ip) const noexcept;
  bool empty() const noexcept { return networks_.empty(); }

 private:
  struct Network {
    bool v6 = false;
    unsigned char bytes[16] = {};
    unsigned char mask[16] = {};
  };
  std::vector<Network> networks_;
};

// Without trusted proxies: the first entry of X-Forwarded-For, else the peer. With them: the peer
// unless it is trusted, else X-Forwarded-For from the right up to the first hop that is not.
std::string client_ip(std::optional<std::string_view> forwarded_for, std::string_view peer,
                      const AddressList& trusted_proxies);

// X-Forwarded-URL counts from anyone when no proxies are configured, else only from those.
bool trusts_forwarded(std::string_view peer, const AddressList& trusted_proxies);

}  // namespace bai::auth
