// Limits of the user, the keypair, the project and the domain, over the whole cluster.
#include <fmt/format.h>

#include <algorithm>

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

std::string amount_text(const SchedView& view, SlotIndex slot, Amount amount) {
  return format_amount_humanized(view.slot_type(slot), amount);
}

struct Excess {
  std::string text;  // one line for every slot
  SlotMap over;
};

// Of slots of which holding and request together exceed `limit(name)`.
template <class Limit>
Excess excess(const SchedView& view, const HeldAmounts& holding, const Request& request,
              Limit&& limit) {
  Excess excess;
  std::vector<std::pair<std::string, std::string>> lines;
  const auto check = [&](SlotIndex slot, std::int64_t requested) {
    const std::string& name = view.slot_name(slot);
    const Amount most = limit(name), used{holding.of(slot)}, wanted{requested};
    const Amount sum = used + wanted;
    if (most.is_infinite() || sum <= most) return;
    excess.over.set(name, sum - most);
    lines.emplace_back(
        name, fmt::format("\n  - {}: used {} + requested {} > limit {} (over by {})", name,
                          amount_text(view, slot, used), amount_text(view, slot, wanted),
                          amount_text(view, slot, most), amount_text(view, slot, sum - most)));
  };
  for (const SlotRequest& r : request.total) check(r.slot, r.units);
  for (SlotIndex slot = 0; slot < holding.slots(); ++slot) {
    const bool requested =
        std::ranges::any_of(request.total, [&](const SlotRequest& r) { return r.slot == slot; });
    if (!requested && holding.of(slot) != 0) check(slot, 0);
  }
  std::ranges::sort(lines);
  for (const auto& [name, line] : lines) excess.text += line;
  return excess;
}

class ResourcePolicy final : public Validator {
 public:
  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    check_policy(view, session, ScopeKind::User, view.user_policy(session), refusals);
    check_policy(view, session, ScopeKind::Keypair, view.other_key_policy(session), refusals);
    // The limits of a project in a cohort are the validator "cohort"'s.
    if (!view.cohort(session)) {
      check_listed(view, session, ScopeKind::Project, view.project_limits(session), refusals);
    }
    check_listed(view, session, ScopeKind::Domain, view.domain_limits(session), refusals);
  }

 private:
  static void refuse_slots(std::string_view scope, std::string_view kind, Excess excess,
                           std::vector<Refusal>& refusals) {
    if (excess.text.empty()) return;
    refusals.push_back(
        {"quota", fmt::format("{}_check-limit_forbidden", kind),
         fmt::format("The resource limit of the {} is reached:{}", scope, excess.text), false,
         Timestamp{}, std::move(excess.over)});
  }

  // The policy of the user's main keypair bounds all that the user has; that of another keypair
  // what was asked for with it.
  static void check_policy(const SchedView& view, const PendingSession& session, ScopeKind kind,
                           const KeypairPolicy* policy, std::vector<Refusal>& refusals) {
    if (policy == nullptr) return;
    const std::string_view who = to_string(kind);
    const HeldAmounts holding = view.held(kind, session.owner);
    const SlotMap& limits = policy->total_resource_slots;
    const Amount unlisted =
        policy->default_for_unspecified == UnspecifiedLimit::Limited ? Amount{0} : kInfiniteAmount;
    refuse_slots(who, who,
                 excess(view, holding, view.request(session),
                        [&](const std::string& name) {
                          return limits.contains(name) ? limits.get(name) : unlisted;
                        }),
                 refusals);
    const bool is_private = session.type == SessionType::System;
    const std::int64_t most =
        is_private ? policy->max_concurrent_sftp_sessions : policy->max_concurrent_sessions;
    const std::int64_t now = is_private ? holding.sftp_sessions : holding.sessions;
    if (most <= 0 || now < most) return;
    refusals.push_back({"concurrency", "session_check-limit_forbidden",
                        fmt::format("The {} has {} of at most {} concurrent {}sessions.", who, now,
                                    most, is_private ? "system " : ""),
                        false, Timestamp{}});
  }

  static void check_listed(const SchedView& view, const PendingSession& session, ScopeKind kind,
                           const SlotMap* limits, std::vector<Refusal>& refusals) {
    if (limits == nullptr || limits->empty()) return;
    const bool is_project = kind == ScopeKind::Project;
    refuse_slots(is_project ? "project" : "domain", is_project ? "group" : "domain",
                 excess(view, view.held(kind, session.owner), view.request(session),
                        [&](const std::string& name) {
                          return limits->contains(name) ? limits->get(name) : kInfiniteAmount;
                        }),
                 refusals);
  }
};

}  // namespace

std::unique_ptr<const Validator> make_resource_policy(PolicyOptions&) {
  return std::make_unique<ResourcePolicy>();
}

}  // namespace bai::sched
