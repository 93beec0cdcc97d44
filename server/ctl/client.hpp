// Signed requests to a manager.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "bai_manager/json.hpp"
#include "bai_manager/result.hpp"
#include "bai_manager/time.hpp"
#include "ctl/profile.hpp"

namespace bai::ctl {

inline constexpr std::string_view kUnreachableKind = "unreachable";  // no server has answered

// One keep-alive connection; one thread at a time.
class Client {
 public:
  // InvalidArgument when the endpoint is not "http[s]://host[:port][/base]". The certificate behind
  // https must be of an authority of the profile's `ca_cert`, or of one that the host trusts.
  static Result<Client> open(Profile profile);
  Client(Client&&) noexcept;
  ~Client();

  // `target` is the path with an encoded query. A null body sends none. The answer's JSON (null
  // when it has no body), or what the server's problem document says: `kind` is its slug and
  // `code` follows its status; Unavailable of kUnreachableKind when there is no answer in
  // `timeout`.
  Result<Json> call(std::string_view method, std::string_view target, const Json& body = {},
                    Duration timeout = seconds(60));

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// For a path segment or a query value.
std::string encode(std::string_view text);

}  // namespace bai::ctl
