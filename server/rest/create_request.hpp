// The body of a session creation, in all spellings that clients use. Beyond what the reference
// system knows `config` may have
//   "kernels": [{"resources": {...}}, ...]  for main1, sub1, sub2, ..., instead of "resources"
//   "session_group": id
#pragma once

#include <string>
#include <vector>

#include "bai_manager/actions.hpp"
#include "bai_manager/resources.hpp"

namespace bai::server {

struct CreateRequest {
  CreateSession action;
  bool enqueue_only = false;
  Duration max_wait;  // 0: no limit
  bool names_agents = false;
  std::vector<std::string> ignored;  // members of the body that mean nothing here
};

// `now` is what relative starting times count from. Kinds "body-invalid" for wrong fields (all of
// them are named) and "invalid-api-parameters" for a wrong `config`, as data {"config": text}.
Result<CreateRequest> parse_create_request(const Json& body, const SlotTypes& slots, Timestamp now);

// "300", "30s", "5m", "1.5h", "2d", "1w". InvalidArgument otherwise.
Result<Duration> parse_duration(std::string_view text);

}  // namespace bai::server
