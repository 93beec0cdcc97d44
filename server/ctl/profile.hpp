// Where the server is and who is asking: kept in a file, overridden by the environment.
#pragma once

#include <string>
#include <string_view>

#include "bai_manager/result.hpp"

namespace bai::ctl {

inline constexpr std::string_view kNotLoggedInKind = "not-logged-in";

struct Profile {
  std::string endpoint;  // "http://127.0.0.1:8080", "https://..."
  std::string access_key, secret_key;
  std::string ca_cert;  // PEM file; empty: the authorities that the host trusts
};

// $BAICTL_CONFIG, else $XDG_CONFIG_HOME/baictl/config.json, else ~/.config/baictl/config.json.
std::string profile_path();

// The stored profile with BACKEND_ENDPOINT, BACKEND_ACCESS_KEY, BACKEND_SECRET_KEY and
// BAICTL_CA_CERT over it. NotFound of kNotLoggedInKind (saying how to log in) when there is
// neither.
Result<Profile> load_profile();

// Readable by its owner only.
Status save_profile(const Profile& profile);

}  // namespace bai::ctl
