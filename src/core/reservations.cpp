#include "core/reservations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "model/index_key.hpp"
#include "model/reservation.hpp"

namespace bai::core {

namespace {

constexpr std::size_t kByGroup = 0;  // its index in the description

// What sessions of the reservation hold on the agent.
SlotMap held_in(const State& state, const std::string& reservation, const AgentId& agent) {
  SlotMap held;
  state.table<Kernel>().for_each_in(
      index::kKernelByAgent, IndexPrefix{}.add(agent.view()).str(), [&](const Kernel& kernel) {
        if (!holds_resources(kernel.status)) return true;
        const Session* session = state.find<Session>(kernel.session);
        if (session != nullptr && session_reservation(*session) == reservation) {
          held += kernel.occupied_slots;
        }
        return true;
      });
  return held;
}

}  // namespace

void for_each_reservation(const State& state, const ResourceGroupName& group,
                          const std::function<bool(const Reservation&)>& visit) {
  state.table<Reservation>().for_each_in(kByGroup, IndexPrefix{}.add(group.view()).str(), visit);
}

std::string broken_reservation(const State& state, const Session& session,
                               std::span<const std::pair<KernelId, AgentId>> kernels,
                               Timestamp now) {
  std::map<AgentId, SlotMap> wanted;
  for (const auto& [kernel_id, agent_id] : kernels) {
    wanted[agent_id] += state.find<Kernel>(kernel_id)->requested_slots;
  }
  const std::string own = session_reservation(session);
  bool has_own = false;
  std::string broken;
  std::map<AgentId, SlotMap> kept;  // from everybody else
  for_each_reservation(state, session.resource_group, [&](const Reservation& reservation) {
    if (now < reservation.starts_at || now >= reservation.ends_at) return true;
    has_own = has_own || reservation.id == own;
    for (const auto& [agent_id, slots] : wanted) {
      const Json* reserved = reservation.agents.find(agent_id.view());
      if (reserved == nullptr && reservation.id != own) continue;
      const auto amounts =
          parse_slots(state.slot_types(), reserved != nullptr ? *reserved : Json::object());
      if (!amounts) continue;
      const SlotMap held = held_in(state, reservation.id, agent_id);
      for (const auto& [name, amount] : reservation.id == own ? slots : *amounts) {
        const Amount left = std::max(Amount{}, amounts->get(name) - held.get(name));
        if (reservation.id != own) {
          kept[agent_id].set(name, kept[agent_id].get(name) + left);
        } else if (amount > left) {
          broken = fmt::format("reservation {} has no room any more", own);
        }
      }
    }
    return true;
  });
  if (!own.empty() && !has_own) return fmt::format("reservation {} is not there any more", own);
  if (!own.empty() || !broken.empty()) return broken;
  for (const auto& [agent_id, left] : kept) {
    const Agent* agent = state.find<Agent>(agent_id);
    const SlotMap& slots = wanted.at(agent_id);
    for (const auto& [name, amount] : left) {
      if (amount.units > 0 && slots.get(name).units > 0 &&
          agent->occupied_slots.get(name) + slots.get(name) + amount >
              agent->available_slots.get(name)) {
        return fmt::format("agent {} keeps what is left for a reservation", agent_id.view());
      }
    }
  }
  return {};
}

void drop_over_reservations(Context& ctx) {
  std::vector<std::string> over;
  ctx.state().table<Reservation>().for_each([&](const Reservation& reservation) {
    if (reservation.ends_at <= ctx.now) over.push_back(reservation.id);
    return true;
  });
  for (const std::string& id : over) ctx.changes.erase<Reservation>(id);
}

}  // namespace bai::core
