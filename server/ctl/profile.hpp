// Where the server is and who is asking: kept in a file, overridden by the environment.
#pragma once

#include <string>

#include "bai_manager/result.hpp"

namespace bai::ctl {

struct Profile {
  std::string endpoint;  // "http://127.0.0.1:8080"
  std::string access_key, secret_key;
};

// $BAICTL_CONFIG, else $XDG_CONFIG_HOME/baictl/config.json, else ~/.config/baictl/config.json.
std::string profile_path();

// The stored profile with BACKEND_ENDPOINT, BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY over it.
// NotFound (saying how to log in) when there is neither.
Result<Profile> load_profile();

// Readable by its owner only.
Status save_profile(const Profile& profile);

}  // namespace bai::ctl
