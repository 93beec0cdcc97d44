#include "core/accounting.hpp"

#include <fmt/format.h>

#include <array>
#include <map>

#include "core/cohorts.hpp"
#include "sched/explain.hpp"

namespace bai::core {

namespace {

// What one session or kernel adds to the sums.
struct SessionShare {
  std::int64_t sessions = 0, sftp_sessions = 0, pending_sessions = 0;
  SlotMap pending_slots;
  friend bool operator==(const SessionShare&, const SessionShare&) = default;
};
struct KernelShare {
  AgentId agent;  // empty: holds nothing
  SlotMap slots;
  bool is_reserved = false;  // waits for others to leave
  friend bool operator==(const KernelShare&, const KernelShare&) = default;
};

SessionShare share_of(const Session& session) {
  SessionShare share;
  const bool is_private = session.type == SessionType::System;
  if (occupies_resources(session.status)) (is_private ? share.sftp_sessions : share.sessions) = 1;
  if (session.status == SessionStatus::Pending) {
    share.pending_sessions = 1;
    share.pending_slots = session.requested_slots;
  }
  return share;
}

KernelShare share_of(const Kernel& kernel) {
  if (!holds_resources(kernel.status) || kernel.agent.empty()) return {};
  return {kernel.agent, kernel.occupied_slots, kernel.status == KernelStatus::Reserved};
}

bool is_nothing(const Usage& usage) {
  return usage.slots.equivalent({}) && usage.pending_slots.equivalent({}) && usage.sessions == 0 &&
         usage.sftp_sessions == 0 && usage.pending_sessions == 0;
}

std::array<std::string, 4> scopes_of(const Session& session) {
  return {usage_key(ScopeKind::User, to_string(session.user)),
          usage_key(ScopeKind::Project, to_string(session.project)),
          usage_key(ScopeKind::Domain, session.domain.view()),
          usage_key(ScopeKind::Keypair, session.access_key.view())};
}

void adjust_usage(Changeset& changes, const std::string& id,
                  const std::function<void(Usage&)>& edit) {
  const Usage* present = changes.state().find<Usage>(id);
  Usage usage = present ? *present : Usage{};
  usage.id = id;
  edit(usage);
  usage.slots.prune_zeros();
  usage.pending_slots.prune_zeros();
  if (!is_nothing(usage)) {
    present ? changes.update<Usage>(id, [&](Usage& u) { u = std::move(usage); })
            : changes.insert(std::move(usage));
  } else if (present) {
    changes.erase<Usage>(id);
  }
}

void adjust_scopes(Changeset& changes, const Session& session,
                   const std::function<void(Usage&)>& edit) {
  for (const std::string& scope : scopes_of(session)) adjust_usage(changes, scope, edit);
}

void move_share(Changeset& changes, const Session& session, const SessionShare& from,
                const SessionShare& to) {
  if (from == to) return;
  adjust_scopes(changes, session, [&](Usage& usage) {
    usage.sessions += to.sessions - from.sessions;
    usage.sftp_sessions += to.sftp_sessions - from.sftp_sessions;
    usage.pending_sessions += to.pending_sessions - from.pending_sessions;
    usage.pending_slots -= from.pending_slots;
    usage.pending_slots += to.pending_slots;
  });
}

void adjust_agent(Changeset& changes, const KernelShare& share, int sign) {
  if (share.agent.empty() || changes.state().find<Agent>(share.agent) == nullptr) return;
  changes.update_volatile<Agent>(share.agent, [&](Agent& agent) {
    SlotMap& slots = share.is_reserved ? agent.prereserved_slots : agent.occupied_slots;
    sign > 0 ? slots += share.slots : slots -= share.slots;
    slots.prune_zeros();
    if (!share.is_reserved) agent.kernel_count += sign;
  });
}

void move_share(Changeset& changes, const SessionId& session_id, const KernelShare& from,
                const KernelShare& to) {
  if (from == to) return;
  adjust_agent(changes, from, -1);
  adjust_agent(changes, to, +1);
  const Session* session = changes.state().find<Session>(session_id);
  BAI_ASSERT(session != nullptr, "a kernel has a session");
  if (session->type == SessionType::System || from.slots == to.slots) return;
  adjust_scopes(changes, *session, [&](Usage& usage) {
    usage.slots -= from.slots;
    usage.slots += to.slots;
  });
}

}  // namespace

void insert_session(Changeset& changes, Session session) {
  const Session& inserted = changes.insert(std::move(session));
  move_share(changes, inserted, {}, share_of(inserted));
}

void insert_kernel(Changeset& changes, Kernel kernel) {
  const Kernel& inserted = changes.insert(std::move(kernel));
  move_share(changes, inserted.session, {}, share_of(inserted));
}

void erase_kernel(Changeset& changes, const KernelId& id) {
  const Kernel kernel = *changes.state().find<Kernel>(id);
  changes.erase<Kernel>(id);
  move_share(changes, kernel.session, share_of(kernel), {});
}

const Session& update_session(Changeset& changes, const SessionId& id,
                              const std::function<void(Session&)>& edit) {
  const SessionShare before = share_of(*changes.state().find<Session>(id));
  const Session& updated = changes.update<Session>(id, edit);
  move_share(changes, updated, before, share_of(updated));
  return updated;
}

const Kernel& update_kernel(Changeset& changes, const KernelId& id,
                            const std::function<void(Kernel&)>& edit) {
  const KernelShare before = share_of(*changes.state().find<Kernel>(id));
  const Kernel& updated = changes.update<Kernel>(id, edit);
  move_share(changes, updated.session, before, share_of(updated));
  return updated;
}

void rebuild_sums(Changeset& changes) {
  const State& state = changes.state();
  std::vector<std::shared_ptr<const Session>> sessions;
  state.any_table(EntityKind::Session).for_each_row([&](const RowPtr& row) {
    sessions.push_back(std::static_pointer_cast<const Session>(row));
    return true;
  });
  for (const auto& session : sessions) move_share(changes, *session, {}, share_of(*session));
  std::vector<std::shared_ptr<const Kernel>> kernels;
  state.any_table(EntityKind::Kernel).for_each_row([&](const RowPtr& row) {
    kernels.push_back(std::static_pointer_cast<const Kernel>(row));
    return true;
  });
  for (const auto& kernel : kernels) move_share(changes, kernel->session, {}, share_of(*kernel));
}

const KeypairPolicy* limiting_policy(const State& state, const UserId& user, const AccessKey& key) {
  const User* owner = state.find<User>(user);
  const Keypair* keypair = nullptr;
  if (owner != nullptr) keypair = state.find<Keypair>(owner->main_access_key);
  if (keypair == nullptr) keypair = state.find<Keypair>(key);
  return keypair ? state.find<KeypairPolicy>(keypair->resource_policy) : nullptr;
}

namespace {

std::optional<BrokenLimit> broken_slots(const State& state, std::string_view scope,
                                        std::string_view kind, const SlotMap& used,
                                        const SlotMap& requested, const SlotMap& limits,
                                        bool unlisted_is_zero) {
  BrokenLimit broken{fmt::format("{}_check-limit_forbidden", kind), std::string(scope)};
  for (const auto& [name, amount] : requested) {
    if (amount.units == 0) continue;
    const bool listed = limits.contains(name);
    if (!listed && !unlisted_is_zero) continue;
    const Amount limit = limits.get(name), now = used.get(name);
    if (limit.is_infinite() || now + amount <= limit) continue;
    broken.add(state.slot_types().type_of(name), name, now, amount, limit);
  }
  if (broken.over.empty()) return std::nullopt;
  return broken;
}

// What a keypair's policy allows its scope: sessions at a time, amounts.
std::optional<BrokenLimit> broken_policy(const State& state, const Session& session, ScopeKind kind,
                                         std::string_view scope, const KeypairPolicy& policy) {
  const Usage& usage = state.usage(kind, scope);
  const bool is_private = session.type == SessionType::System;
  const std::int64_t limit =
      is_private ? policy.max_concurrent_sftp_sessions : policy.max_concurrent_sessions;
  const std::int64_t running = is_private ? usage.sftp_sessions : usage.sessions;
  if (limit > 0 && running >= limit) {
    return BrokenLimit{"session_check-limit_forbidden",
                       fmt::format("{}: {} of {} concurrent {}sessions are in use", to_string(kind),
                                   running, limit, is_private ? "SFTP " : ""),
                       {},
                       "concurrency"};
  }
  if (is_private) return std::nullopt;
  return broken_slots(state, to_string(kind), to_string(kind), usage.slots, session.requested_slots,
                      policy.total_resource_slots,
                      policy.default_for_unspecified == UnspecifiedLimit::Limited);
}

// The policy of a keypair that is not its user's main one, whose policy bounds all that the user
// has.
const KeypairPolicy* other_key_policy(const State& state, const Session& session) {
  const User* owner = state.find<User>(session.user);
  if (owner != nullptr && owner->main_access_key == session.access_key) return nullptr;
  const auto* keypair = state.find<Keypair>(session.access_key);
  return keypair ? state.find<KeypairPolicy>(keypair->resource_policy) : nullptr;
}

}  // namespace

std::optional<BrokenLimit> broken_limit(const State& state, const Session& session,
                                        std::span<const SessionId> leaving) {
  if (const auto* policy = limiting_policy(state, session.user, session.access_key)) {
    auto broken = broken_policy(state, session, ScopeKind::User, to_string(session.user), *policy);
    if (broken) return broken;
  }
  if (const auto* policy = other_key_policy(state, session)) {
    auto broken =
        broken_policy(state, session, ScopeKind::Keypair, session.access_key.view(), *policy);
    if (broken) return broken;
  }
  if (session.type == SessionType::System) return std::nullopt;
  if (const Project* project = state.find<Project>(session.project)) {
    auto broken =
        project->cohort.empty()
            ? broken_slots(state, "project", "group",
                           state.usage(ScopeKind::Project, to_string(session.project)).slots,
                           session.requested_slots, project->total_resource_slots, false)
            : broken_cohort(state, session, *project, leaving);
    if (broken) return broken;
  }
  if (const Domain* domain = state.find<Domain>(session.domain)) {
    return broken_slots(state, "domain", "domain",
                        state.usage(ScopeKind::Domain, session.domain.view()).slots,
                        session.requested_slots, domain->total_resource_slots, false);
  }
  return std::nullopt;
}

PendingReason reason_of_limit(const BrokenLimit& broken) {
  PendingReason reason;
  reason.code = broken.code;
  reason.kind = broken.kind;
  reason.message = fmt::format("A limit is reached: {}.", broken.text);
  reason.missing = broken.over;
  reason.violations.emplace_back(broken.code, broken.kind);
  sched::say_unforeseen(reason);
  return reason;
}

namespace {

std::string check_agents(const State& state) {
  struct Sums {
    SlotMap held, reserved;
    std::int64_t kernels = 0;
  };
  std::map<AgentId, Sums> sums;
  std::string wrong;
  state.table<Kernel>().for_each([&](const Kernel& kernel) {
    const Session* session = state.find<Session>(kernel.session);
    if (session == nullptr) {
      wrong = fmt::format("kernel {} has no session", to_string(kernel.id));
    } else if (is_terminal(session->status) && !is_terminal(kernel.status)) {
      wrong =
          fmt::format("kernel {} is {} although its session {} is {}", to_string(kernel.id),
                      to_string(kernel.status), to_string(session->id), to_string(session->status));
    } else if (holds_resources(kernel.status) && kernel.agent.empty()) {
      wrong = fmt::format("kernel {} is {} without an agent", to_string(kernel.id),
                          to_string(kernel.status));
    } else if (const bool idle =
                   is_terminal(kernel.status) || kernel.status == KernelStatus::Pending;
               idle && !kernel.occupied_slots.empty()) {
      wrong = fmt::format("kernel {} is {}, but holds amounts", to_string(kernel.id),
                          to_string(kernel.status));
    } else if (kernel.status == KernelStatus::Running && !kernel.create_sent) {
      wrong = fmt::format("kernel {} runs, but was never created", to_string(kernel.id));
    }
    const KernelShare share = share_of(kernel);
    if (!share.agent.empty()) {
      Sums& agent = sums[share.agent];
      (share.is_reserved ? agent.reserved : agent.held) += share.slots;
      if (!share.is_reserved) ++agent.kernels;
    }
    return wrong.empty();
  });
  if (!wrong.empty()) return wrong;
  state.table<Agent>().for_each([&](const Agent& agent) {
    const Sums& real = sums[agent.id];
    if (!real.held.equivalent(agent.occupied_slots) || real.kernels != agent.kernel_count) {
      wrong = fmt::format("agent {} is said to hold {} kernels, but holds {}, or other amounts",
                          agent.id.view(), agent.kernel_count, real.kernels);
    } else if (!real.reserved.equivalent(agent.prereserved_slots)) {
      wrong =
          fmt::format("agent {} is said to keep other amounts than its reserved kernels ask for",
                      agent.id.view());
    }
    return wrong.empty();
  });
  return wrong;
}

// Added up here and not through the functions above, whose work this judges.
std::map<std::string, Usage> expected_usages(const State& state) {
  std::map<SessionId, SlotMap> held;
  state.table<Kernel>().for_each([&](const Kernel& kernel) {
    const KernelShare share = share_of(kernel);
    if (!share.slots.empty()) held[kernel.session] += share.slots;
    return true;
  });
  std::map<std::string, Usage> expected;
  state.table<Session>().for_each([&](const Session& session) {
    const SessionShare share = share_of(session);
    const auto kernels = held.find(session.id);
    const bool has_slots = kernels != held.end() && session.type != SessionType::System;
    if (share == SessionShare{} && !has_slots) return true;
    for (const std::string& scope : scopes_of(session)) {
      Usage& usage = expected[scope];
      usage.sessions += share.sessions;
      usage.sftp_sessions += share.sftp_sessions;
      usage.pending_sessions += share.pending_sessions;
      usage.pending_slots += share.pending_slots;
      if (has_slots) usage.slots += kernels->second;
    }
    return true;
  });
  std::erase_if(expected, [](const auto& entry) { return is_nothing(entry.second); });
  return expected;
}

std::string check_usages(const State& state) {
  const auto expected = expected_usages(state);
  for (const auto& [id, usage] : expected) {
    const Usage* real = state.find<Usage>(id);
    if (real == nullptr || !real->slots.equivalent(usage.slots) ||
        !real->pending_slots.equivalent(usage.pending_slots) || real->sessions != usage.sessions ||
        real->sftp_sessions != usage.sftp_sessions ||
        real->pending_sessions != usage.pending_sessions) {
      return fmt::format("the usage of {} is not the sum of its sessions", id);
    }
  }
  if (expected.size() != state.table<Usage>().size()) return "a usage of nobody is left over";
  return {};
}

// What the index says of session groups, against a walk over all sessions.
std::string check_members(const State& state) {
  std::map<std::string, std::vector<const Session*>> members;
  state.table<SessionGroup>().for_each([&](const SessionGroup& group) {
    members[group.id];
    return true;
  });
  state.table<Session>().for_each([&](const Session& session) {
    if (!session.session_group.empty() && !is_terminal(session.status)) {
      members[session.session_group].push_back(&session);
    }
    return true;
  });
  for (const auto& [group, sessions] : members) {
    if (state.live_members(group) != sessions) {
      return fmt::format("session group {} has {} live sessions, not those that are looked up",
                         group, sessions.size());
    }
  }
  return {};
}

std::string check_sessions(const State& state) {
  struct Count {
    std::int64_t kernels = 0, pending = 0;
  };
  std::map<SessionId, Count> counts;
  state.table<Kernel>().for_each([&](const Kernel& kernel) {
    Count& count = counts[kernel.session];
    ++count.kernels;
    count.pending += kernel.status == KernelStatus::Pending;
    return true;
  });
  std::string wrong;
  std::map<std::pair<AccessKey, std::string>, SessionId> live;
  state.table<Session>().for_each([&](const Session& session) {
    const Count& count = counts[session.id];
    if (count.kernels == 0 || count.kernels != session.cluster_size) {
      wrong = fmt::format("session {} has {} of {} kernels", to_string(session.id), count.kernels,
                          session.cluster_size);
      return false;
    }
    if (is_terminal(session.status)) return true;
    if (!live.emplace(std::pair(session.access_key, session.name), session.id).second) {
      wrong = fmt::format("two live sessions of {} are named {}", session.access_key.view(),
                          session.name);
      return false;
    }
    const bool waits =
        session.status == SessionStatus::Pending || session.status == SessionStatus::Deprioritizing;
    if (count.pending != (waits ? count.kernels : 0)) {
      wrong = fmt::format("session {} is {}, and {} of its {} kernels are pending",
                          to_string(session.id), to_string(session.status), count.pending,
                          count.kernels);
      return false;
    }
    const bool passing =
        session.status != SessionStatus::Pending && session.status != SessionStatus::Running;
    if (passing && session.deadline.ns == 0) {
      wrong = fmt::format("session {} is {} without a deadline", to_string(session.id),
                          to_string(session.status));
    }
    return wrong.empty();
  });
  return wrong;
}

std::string check_operations(const State& state) {
  std::string wrong;
  state.table<Operation>().for_each([&](const Operation& row) {
    if (row.kind != "destroy-kernel") return true;
    const bool whole = parse_uuid<KernelId>(row.subject) && row.arguments["agent"].is_string() &&
                       parse_uuid<SessionId>(row.arguments["session"].as_string());
    if (!whole) wrong = fmt::format("operation {} does not say what to do", to_string(row.id));
    return whole;
  });
  return wrong;
}

}  // namespace

std::string check_invariants(const State& state) {
  for (const auto check :
       {check_agents, check_sessions, check_members, check_usages, check_operations}) {
    if (auto wrong = check(state); !wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace bai::core
