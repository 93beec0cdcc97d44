#include <fmt/format.h>

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

constexpr const char* kKind = "session_check-limit_forbidden";

// Every session that this one depends on must have ended with success.
class Dependencies final : public Validator {
 public:
  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    if (session.details == nullptr) return;
    for (const std::string& id : session.details->dependencies) {
      switch (view.dependency(id)) {
        case DependencyState::Succeeded:
          break;
        case DependencyState::Waiting:
          refusals.push_back({"dependency", kKind,
                              fmt::format("Waits for session {} to end with success.", id), false,
                              Timestamp{}});
          break;
        case DependencyState::Failed:
          refusals.push_back(
              {"dependency", kKind,
               fmt::format("Can never start: session {}, which it depends on, has ended without "
                           "success.",
                           id),
               true, Timestamp{}});
          break;
        case DependencyState::Unknown:
          refusals.push_back(
              {"dependency", kKind,
               fmt::format("Can never start: session {}, which it depends on, does not exist.", id),
               true, Timestamp{}});
          break;
      }
    }
  }
};

}  // namespace

std::unique_ptr<const Validator> make_dependencies(PolicyOptions&) {
  return std::make_unique<Dependencies>();
}

}  // namespace bai::sched
