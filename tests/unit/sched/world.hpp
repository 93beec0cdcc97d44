// A small cluster for planner tests: rows in, plans out.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/changeset.hpp"
#include "sched/mirror.hpp"
#include "sched/planner.hpp"

namespace bai::test {

using Texts = std::vector<std::pair<std::string, std::string>>;

inline SlotMap slots(const Texts& amounts) {
  static const SlotTypes kTypes;
  SlotMap map;
  for (const auto& [name, text] : amounts) {
    const auto amount = parse_amount(kTypes.type_of(name), text);
    REQUIRE_MESSAGE(amount.has_value(), text);
    map.set(name, *amount);
  }
  return map;
}

template <class Id>
Id numbered(std::uint64_t number) {
  Id id;
  for (int i = 0; i < 8; ++i) {
    id.bytes[static_cast<std::size_t>(15 - i)] = static_cast<std::uint8_t>(number >> (8 * i));
  }
  return id;
}

inline std::shared_ptr<PolicyRegistry> builtin_policies() {
  auto registry = std::make_shared<PolicyRegistry>();
  REQUIRE(add_builtin_policies(*registry).has_value());
  return registry;
}

using Look = std::function<void(const SchedView&, const PendingSession&)>;

// The built-in ones, and `look` for every session that is drawn.
inline std::shared_ptr<PolicyRegistry> policies_and(const Look& look) {
  struct Looking final : Validator {
    explicit Looking(Look look) : look_(std::move(look)) {}
    void check(const SchedView& view, const PendingSession& session,
               std::vector<Refusal>&) const override {
      look_(view, session);
    }
    Look look_;
  };
  auto registry = builtin_policies();
  const Status added = registry->add_validator(
      "looking", [look](PolicyOptions&) { return std::make_unique<Looking>(look); });
  REQUIRE(added.has_value());
  return registry;
}

inline Timestamp at_second(std::int64_t second) { return Timestamp{second * 1'000'000'000}; }
inline constexpr std::int64_t kNow = 1'000'000;  // seconds

struct KernelSpec {
  Texts slots;
  std::string architecture = "x86_64";
};

class World {
 public:
  explicit World(std::shared_ptr<const PolicyRegistry> policies = builtin_policies(),
                 PlanLimits limits = {})
      : planner(std::move(policies), limits) {}

  ResourceGroup& group(const std::string& name = "default") {
    if (!groups_.contains(name)) {
      ResourceGroup row;
      row.name = ResourceGroupName(name);
      row.selector = "dispersed";
      groups_[name] = row;
    }
    return groups_[name];
  }

  void agent(const std::string& id, const Texts& capacity, const Texts& used = {},
             const std::string& group = "default", const std::string& architecture = "x86_64") {
    Agent row;
    row.id = AgentId(id);
    row.resource_group = ResourceGroupName(group);
    row.architecture = architecture;
    row.available_slots = slots(capacity);
    changes.insert(std::move(row));
    if (!used.empty()) hold(id, used);
  }

  // A running kernel that nobody owns.
  KernelId hold(const std::string& agent, const Texts& amounts) {
    Kernel row;
    row.id = numbered<KernelId>(++last_id_);
    row.session = numbered<SessionId>(++last_id_);
    row.agent = AgentId(agent);
    row.status = KernelStatus::Running;
    row.occupied_slots = slots(amounts);
    changes.insert(row);
    return row.id;
  }

  Session draft() {
    Session row;
    row.id = numbered<SessionId>(++last_id_);
    row.name = "s" + std::to_string(last_id_);
    row.resource_group = ResourceGroupName("default");
    row.user = numbered<UserId>(1);
    row.project = numbered<ProjectId>(1);
    row.domain = DomainName("default");
    row.access_key = AccessKey("AK1");
    row.created_at = at_second(static_cast<std::int64_t>(last_id_));
    return row;
  }

  SessionId add(Session row, const std::vector<KernelSpec>& kernels) {
    std::int64_t rank = 0;
    for (const KernelSpec& spec : kernels) {
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_id_);
      kernel.session = row.id;
      kernel.local_rank = rank++;
      kernel.architecture = spec.architecture;
      kernel.requested_slots = slots(spec.slots);
      changes.insert(kernel);
    }
    row.cluster_size = static_cast<std::int64_t>(kernels.size());
    const SessionId id = row.id;
    changes.insert(std::move(row));
    return id;
  }

  // A pending single-kernel session.
  SessionId session(const Texts& amounts, std::int64_t priority = 10) {
    Session row = draft();
    row.priority = priority;
    return add(std::move(row), {{amounts}});
  }

  void usage(ScopeKind kind, std::string_view scope, const Texts& amounts,
             std::int64_t sessions = 0, std::int64_t sftp = 0) {
    Usage row;
    row.id = usage_key(kind, scope);
    row.slots = slots(amounts);
    row.sessions = sessions;
    row.sftp_sessions = sftp;
    changes.insert(row);
  }

  // The policy of user number `user`.
  void user_policy(const KeypairPolicy& policy, std::uint64_t user = 1) {
    User row;
    row.id = numbered<UserId>(user);
    row.email = "u" + std::to_string(user);
    row.username = row.email;
    row.main_access_key = AccessKey("MAIN" + std::to_string(user));
    Keypair key;
    key.access_key = row.main_access_key;
    key.user = row.id;
    key.resource_policy = policy.name;
    changes.insert(row);
    changes.insert(key);
    changes.insert(policy);
  }

  void feed() {
    for (auto& [name, row] : groups_) {
      const ResourceGroup* present = state.find<ResourceGroup>(row.name);
      if (present == nullptr) {
        changes.insert(row);
      } else if (differ(*present, row)) {
        changes.update<ResourceGroup>(row.name, [&](ResourceGroup& r) { r = row; });
      }
    }
    const auto fed = coalesce(changes.take());
    planner.feed({++version}, fed);
  }

  Plan plan(std::int64_t now = kNow) {
    group();
    feed();
    Plan plan = planner.plan(at_second(now), 7);
    for (const Explained& e : plan.explained) reasons[e.session] = e.reason;
    return plan;
  }

  static Json devices_of(const Placement& placement, const KernelId& kernel) {
    std::map<std::string, Json> by_slot;
    for (const PlacedDevice& d : placement.devices) {
      if (d.kernel != kernel) continue;
      by_slot.try_emplace(d.slot, Json::object())
          .first->second.set(std::to_string(d.device), format_amount(SlotType::Count, d.amount));
    }
    Json devices = Json::object();
    for (auto& [slot, given] : by_slot) devices.set(slot, given);
    return devices;
  }

  // A session that runs one kernel on `agent` since `since` and said it would take `seconds`.
  void running(const std::string& agent, const Texts& amounts, std::int64_t since,
               std::int64_t for_seconds) {
    Session session = draft();
    session.status = SessionStatus::Running;
    session.starts_at = at_second(since);
    session.batch_timeout = seconds(for_seconds);
    Kernel kernel;
    kernel.id = numbered<KernelId>(++last_id_);
    kernel.session = session.id;
    kernel.agent = AgentId(agent);
    kernel.status = KernelStatus::Running;
    kernel.occupied_slots = slots(amounts);
    changes.insert(kernel);
    changes.insert(session);
  }

  // Keeps cores on agents, from second to second.
  void reserve(const std::string& name,
               const std::vector<std::pair<std::string, std::string>>& cores, std::int64_t from,
               std::int64_t to) {
    Reservation row;
    row.id = "default/" + name;
    row.resource_group = ResourceGroupName("default");
    row.name = name;
    row.agents = Json::object();
    for (const auto& [agent, amount] : cores) {
      row.agents.set(agent, Json::object({{"cpu", amount}}));
    }
    row.owners = {"user/someone"};
    row.starts_at = at_second(from);
    row.ends_at = at_second(to);
    changes.insert(std::move(row));
  }

  // A pending session that says how long it takes.
  SessionId batch(const std::vector<KernelSpec>& kernels, std::int64_t for_seconds) {
    Session row = draft();
    row.type = SessionType::Batch;
    row.cluster_mode = kernels.size() > 1 ? ClusterMode::MultiNode : ClusterMode::SingleNode;
    row.batch_timeout = seconds(for_seconds);
    return add(std::move(row), kernels);
  }

  // Makes the placements of `plan` real, as the loop does.
  void apply(const Plan& plan) {
    for (const Placement& placement : plan.placements) {
      for (const auto& [kernel, agent] : placement.kernels) {
        changes.update<Kernel>(kernel, [&](Kernel& row) {
          row.status = KernelStatus::Scheduled;
          row.agent = agent;
          row.occupied_slots = row.requested_slots;
          row.devices = devices_of(placement, kernel);
        });
      }
      changes.update<Session>(placement.session, [&](Session& row) {
        row.status = SessionStatus::Scheduled;
        row.starts_at = at_second(kNow);
      });
    }
  }

  const std::map<std::string, ResourceGroup>& groups() const { return groups_; }

  const PendingReason& reason(const SessionId& id) const {
    REQUIRE(reasons.contains(id));
    return *reasons.at(id);
  }

  State state;
  Changeset changes{state};
  Planner planner;
  std::uint64_t version = 0;
  std::map<SessionId, std::shared_ptr<const PendingReason>> reasons;

 private:
  static bool differ(const ResourceGroup& a, const ResourceGroup& b) {
    return std::ranges::any_of(entity_info<ResourceGroup>().fields,
                               [&](const auto& field) { return field.get(&a) != field.get(&b); });
  }

  std::map<std::string, ResourceGroup> groups_;
  std::uint64_t last_id_ = 1000;
};

// Agents of a placement in the order of kernels.
inline std::vector<std::string> agents_of(const Placement& placement) {
  std::vector<std::string> agents;
  for (const auto& [kernel, agent] : placement.kernels) agents.push_back(agent.str());
  return agents;
}

inline std::vector<SessionId> placed(const Plan& plan) {
  std::vector<SessionId> ids;
  for (const Placement& p : plan.placements) ids.push_back(p.session);
  return ids;
}

// Agent of the only placement; empty when there is none.
inline std::string only_agent(const Plan& plan) {
  if (plan.placements.size() != 1) return {};
  return plan.placements.front().kernels.front().second.str();
}

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

inline std::string dump(const Plan& plan) {
  std::string text = std::to_string(plan.based_on.value) + "\n";
  for (const Placement& p : plan.placements) {
    text += to_string(p.session);
    for (const auto& [kernel, agent] : p.kernels)
      text += " " + to_string(kernel) + "@" + agent.str();
    text += "\n";
  }
  for (const Explained& e : plan.explained) {
    text += to_string(e.session) + " " + e.reason->code + " " + e.reason->message + "\n";
  }
  for (const std::string& error : plan.errors) text += error + "\n";
  if (plan.wake_at) text += std::to_string(plan.wake_at->ns) + "\n";
  return text;
}

}  // namespace bai::test
