#include "model/reservation.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "model/index_key.hpp"
#include "model/state.hpp"

namespace bai {

namespace {

constexpr std::size_t kByGroup = 0;  // its index in the description

struct Kept {
  const Reservation* row;
  SlotMap amounts;
};

// What they keep together at the worst time of `own`'s window: when one of them begins.
SlotMap most_beside(const std::vector<Kept>& all, const Kept& own) {
  std::vector<const Kept*> beside;
  for (const Kept& kept : all) {
    if (kept.row->starts_at < own.row->ends_at && own.row->starts_at < kept.row->ends_at) {
      beside.push_back(&kept);
    }
  }
  SlotMap most;
  for (const Kept* begins : beside) {
    const Timestamp at = std::max(own.row->starts_at, begins->row->starts_at);
    SlotMap sum;
    for (const Kept* kept : beside) {
      if (kept->row->starts_at <= at && at < kept->row->ends_at) sum += kept->amounts;
    }
    for (const auto& [name, amount] : own.amounts) {
      most.set(name, std::max(most.get(name), sum.get(name)));
    }
  }
  return most;
}

}  // namespace

std::string session_reservation(const Json& resource_opts, const ResourceGroupName& group) {
  const Json* wanted = resource_opts.find("reservation");
  if (wanted == nullptr || !wanted->is_string() || wanted->as_string().empty()) return {};
  std::string name(wanted->as_string());
  if (name.find('/') != std::string::npos) return name;  // no name has one
  return group.str() + "/" + name;
}

std::vector<ReservationGap> reservation_gaps(const State& state, const ResourceGroupName& group) {
  std::map<AgentId, std::vector<Kept>> by_agent;
  const auto gather = [&](const Reservation& row) {
    for (const auto& [agent, amounts] : row.agents.members()) {
      if (auto parsed = parse_slots(state.slot_types(), amounts)) {
        by_agent[AgentId(agent)].push_back({&row, std::move(*parsed)});
      }
    }
    return true;
  };
  state.table<Reservation>().for_each_in(kByGroup, IndexPrefix{}.add(group.view()).str(), gather);
  std::vector<ReservationGap> gaps;
  for (const auto& [id, all] : by_agent) {
    const Agent* agent = state.find<Agent>(id);
    const bool is_there = agent != nullptr && agent->resource_group == group;
    for (const Kept& kept : all) {
      ReservationGap gap{kept.row, id, {}};
      const SlotMap most = is_there ? most_beside(all, kept) : kept.amounts;
      for (const auto& [name, amount] : most) {
        const Amount has = is_there ? agent->available_slots.get(name) : Amount{};
        if (has < amount) gap.missing.set(name, std::min(amount - has, kept.amounts.get(name)));
      }
      if (!gap.missing.empty()) gaps.push_back(std::move(gap));
    }
  }
  return gaps;
}

}  // namespace bai
