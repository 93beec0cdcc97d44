#include "ctl/profile.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "bai_manager/json.hpp"

namespace bai::ctl {

namespace {

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Result<Profile> read_profile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Profile{};
  std::ostringstream text;
  text << file.rdbuf();
  const auto json = Json::parse(text.str());
  if (!json || !json->is_object()) {
    return fail(ErrorCode::Corruption, fmt::format("{} is no JSON object; log in again", path));
  }
  return Profile{
      std::string((*json)["endpoint"].as_string()), std::string((*json)["access_key"].as_string()),
      std::string((*json)["secret_key"].as_string()), std::string((*json)["ca_cert"].as_string())};
}

}  // namespace

std::string profile_path() {
  if (auto path = from_environment("BAICTL_CONFIG"); !path.empty()) return path;
  std::string base = from_environment("XDG_CONFIG_HOME");
  if (base.empty()) base = from_environment("HOME") + "/.config";
  return base + "/baictl/config.json";
}

Result<Profile> load_profile() {
  auto profile = read_profile(profile_path());
  if (!profile) return profile;
  const auto override_with = [](std::string& field, const char* name) {
    if (auto value = from_environment(name); !value.empty()) field = std::move(value);
  };
  override_with(profile->endpoint, "BACKEND_ENDPOINT");
  override_with(profile->access_key, "BACKEND_ACCESS_KEY");
  override_with(profile->secret_key, "BACKEND_SECRET_KEY");
  override_with(profile->ca_cert, "BAICTL_CA_CERT");
  if (profile->endpoint.empty() || profile->access_key.empty() || profile->secret_key.empty()) {
    return fail(ErrorCode::NotFound,
                "You are not logged in. Run: baictl login --endpoint http://127.0.0.1:8080 "
                "--access-key KEY --secret-key SECRET\n(or set BACKEND_ENDPOINT, "
                "BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY)",
                std::string(kNotLoggedInKind));
  }
  return profile;
}

Status save_profile(const Profile& profile) {
  const std::string path = profile_path();
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const auto refuse = [&] {
    return fail(ErrorCode::Unavailable,
                fmt::format("cannot write {}: {}", path, std::strerror(errno)));
  };
  const std::string next = path + ".new";
  const int file = ::open(next.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return refuse();
  const std::string text = Json::object({{"endpoint", profile.endpoint},
                                         {"access_key", profile.access_key},
                                         {"secret_key", profile.secret_key},
                                         {"ca_cert", profile.ca_cert}})
                               .dump_pretty() +
                           "\n";
  const bool written = ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (::close(file) != 0 || !written || std::rename(next.c_str(), path.c_str()) != 0)
    return refuse();
  return {};
}

}  // namespace bai::ctl
