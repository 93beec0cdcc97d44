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
    bool waits = false;
    for (const std::string& id : session.details->dependencies) {
      switch (view.dependency(id)) {
        case DependencyState::Succeeded:
          break;
        case DependencyState::Waiting:
          waits = true;
          refusals.push_back({"dependency", kKind,
                              fmt::format("Waits for session {} to end with success.", id), false,
                              Timestamp{}});
          break;
        case DependencyState::Failed:
          refuse_for_ever(fmt::format("Can never start: session {}, which it depends on, has "
                                      "ended without success.",
                                      id),
                          refusals);
          break;
        case DependencyState::Unknown:
          refuse_for_ever(
              fmt::format("Can never start: session {}, which it depends on, does not exist.", id),
              refusals);
          break;
      }
    }
    if (waits) check_ring(view, session, refusals);
  }

 private:
  static void refuse_for_ever(std::string message, std::vector<Refusal>& refusals) {
    refusals.push_back({"dependency", kKind, std::move(message), true, Timestamp{}});
  }

  // Rings come with rows that nobody asked this manager to make: a session that is created can only
  // depend on those there are.
  static void check_ring(const SchedView& view, const PendingSession& session,
                         std::vector<Refusal>& refusals) {
    const auto ring = view.dependency_ring(session);
    if (ring.empty()) return;
    std::string text;
    for (const SessionId& id : ring) text += to_string(id) + " -> ";
    text += "...";
    refuse_for_ever(
        fmt::format("Can never start: it waits for sessions that wait for each other ({}).", text),
        refusals);
  }
};

}  // namespace

std::unique_ptr<const Validator> make_dependencies(PolicyOptions&) {
  return std::make_unique<Dependencies>();
}

}  // namespace bai::sched
