// Quota that projects lend each other. Within its own slots a project takes back what others have
// borrowed; beyond them it borrows what is idle, for sessions that can be ended when it is wanted
// back.
#include <fmt/format.h>

#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

struct Excess {
  std::string text;  // one line for every slot
  SlotMap over;
};

class Cohort final : public Validator {
 public:
  void check(const SchedView& view, const PendingSession& session,
             std::vector<Refusal>& refusals) const override {
    const auto share = view.cohort(session);
    if (!share) return;
    const HeldAmounts held = view.held(ScopeKind::Project, session.owner);
    const SlotMap& own = *view.project_limits(session);
    Excess borrows, too_much, exhausted, lent;
    for (const SlotRequest& r : view.request(session).total) {
      if (r.units == 0) continue;
      const std::string& name = view.slot_name(r.slot);
      const auto add = [&](Excess& to, Amount used, Amount most) {
        const auto text = [&](Amount a) {
          return format_amount_humanized(view.slot_type(r.slot), a);
        };
        const Amount over = used + Amount{r.units} - most;
        to.text += fmt::format("\n  - {}: used {} + requested {} > limit {} (over by {})", name,
                               text(used), text(Amount{r.units}), text(most), text(over));
        to.over.set(name, over);
      };
      const Amount used{held.of(r.slot)}, wanted = used + Amount{r.units};
      const Amount limit = own.contains(name) ? own.get(name) : kInfiniteAmount;
      const bool is_borrowed = !limit.is_infinite() && wanted > limit;
      if (is_borrowed) {
        add(borrows, used, limit);
        const SlotMap& most = *share->borrowing_limit;
        if (most.contains(name) && !most.get(name).is_infinite() &&
            wanted > limit + most.get(name)) {
          add(too_much, used, limit + most.get(name));
        }
      }
      if (share->nominal[r.slot] == CohortShare::kUnlimited) continue;
      const Amount together{share->held[r.slot]}, all{share->nominal[r.slot]};
      if (together + Amount{r.units} > all) add(is_borrowed ? exhausted : lent, together, all);
    }
    const auto refuse = [&](std::string code, std::string message, Excess& excess) {
      refusals.push_back({std::move(code), "group_check-limit_forbidden", std::move(message), false,
                          Timestamp{}, std::move(excess.over)});
    };
    if (!borrows.text.empty() && !session.is_preemptible) {
      refuse("quota",
             fmt::format("The resource limit of the project is reached, and a session that is not "
                         "preemptible may not borrow from cohort {}:{}",
                         share->name, borrows.text),
             borrows);
    } else if (!too_much.text.empty()) {
      refuse("quota",
             fmt::format("The project may borrow no more from cohort {}:{}", share->name,
                         too_much.text),
             too_much);
    } else if (!exhausted.text.empty()) {
      refuse("quota",
             fmt::format("The project's own slots are used, and cohort {} has none to "
                         "lend:{}",
                         share->name, exhausted.text),
             exhausted);
    } else if (!lent.text.empty()) {
      refuse(std::string(kReclaim),
             fmt::format("What the project may use is lent to others of cohort {}:{}", share->name,
                         lent.text),
             lent);
    }
  }
};

}  // namespace

std::unique_ptr<const Validator> make_cohort(PolicyOptions&) { return std::make_unique<Cohort>(); }

}  // namespace bai::sched
