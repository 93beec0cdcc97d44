#include <fmt/format.h>

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// A batch session does not start before the time that it asked for. Other types do.
class ReservedStart final : public Validator {
 public:
  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    if (session.details == nullptr || session.type != SessionType::Batch) return;
    const Timestamp start = session.details->requested_starts_at;
    if (start <= view.now()) return;
    refusals.push_back({"start-time", "session_check-limit_forbidden",
                        fmt::format("Starts at {}, as requested.", to_iso8601(start)), false,
                        start});
  }
};

}  // namespace

std::unique_ptr<const Validator> make_reserved_start(PolicyOptions&) {
  return std::make_unique<ReservedStart>();
}

}  // namespace bai::sched
