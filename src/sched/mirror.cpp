#include "sched/mirror.hpp"

#include <algorithm>
#include <charconv>

#include "model/devices.hpp"

namespace bai::sched {

namespace {

template <class E>
std::shared_ptr<const E> row(const RowPtr& pointer) {
  return std::static_pointer_cast<const E>(pointer);
}

// Keeps `map[key]` equal to the row that a change leaves behind.
template <class E, class Map, class KeyOf>
void keep_row(Map& map, const Change& change, KeyOf&& key_of) {
  if (change.after) {
    auto after = row<E>(change.after);
    map[key_of(*after)] = std::move(after);
  } else {
    map.erase(key_of(*change.old_row<E>()));
  }
}

SessionId id_of(const Change& session) {
  const Session* after = session.new_row<Session>();
  return after != nullptr ? after->id : session.old_row<Session>()->id;
}

// Fewer new agents than this are as fast one by one.
constexpr std::ptrdiff_t kMetTogether = 8;

bool holds(const Kernel& kernel) { return holds_resources(kernel.status) && !kernel.agent.empty(); }

bool grants_alike(const Kernel& a, const Kernel& b) {
  if (holds(a) != holds(b)) return false;
  return !holds(a) ||
         (a.agent == b.agent && a.occupied_slots == b.occupied_slots && a.devices == b.devices);
}

bool same_facts(const Agent& a, const Agent& b) {
  return a.resource_group == b.resource_group && a.status == b.status &&
         a.schedulable == b.schedulable && a.architecture == b.architecture &&
         a.available_slots == b.available_slots && a.labels == b.labels && a.devices == b.devices;
}

Labels labels_of(const Agent& agent) {
  Labels labels;
  for (const auto& [name, value] : agent.labels.members()) {
    if (value.is_string()) labels.emplace_back(name, value.as_string());
  }
  std::ranges::sort(labels);
  return labels;
}

}  // namespace

Mirror::Mirror() {
  label_rules_.acquire("", {});
  topology_names_.intern("");
}

void Mirror::feed(StateVersion version, std::span<const Change> changes) {
  meet_agents(changes);
  for (const Change& change : changes) apply(change);
  reservations_.settle(slot_types_, slots_, std::exchange(slot_types_stale_, false));
  for (const PendingIndex at : touched_) settle(at);
  touched_.clear();
  note_tenants();
  if (estimates_stale_) refresh_estimates();
  estimates_stale_ = false;
  version_ = version;
}

void Mirror::apply(const Change& change) {
  switch (change.entity) {
    case EntityKind::SlotDeclaration:
      return on_slot_declaration(change);
    case EntityKind::ResourceGroup:
      return on_resource_group(change);
    case EntityKind::Agent:
      return on_agent(change);
    case EntityKind::Session:
      if (tenancy_.on_session(change)) stirred_.push_back(id_of(change));
      return on_session(change);
    case EntityKind::Kernel:
      tenancy_.on_kernel(change);
      return on_kernel(change);
    case EntityKind::FairShare:
      return tenancy_.on_fair_share(change);
    case EntityKind::Reservation:
      return reservations_.on_reservation(change);
    case EntityKind::SessionGroup:
      return tenancy_.on_session_group(change);
    case EntityKind::Usage:
      return on_usage(change);
    case EntityKind::Domain:
      return keep_row<Domain>(domains_, change, [](const Domain& d) { return d.name; });
    case EntityKind::Project:
      on_project(change);
      return keep_row<Project>(projects_, change, [](const Project& p) { return p.id; });
    case EntityKind::KeypairPolicy:
      estimates_stale_ = true;
      return keep_row<KeypairPolicy>(policies_, change,
                                     [](const KeypairPolicy& p) { return p.name; });
    case EntityKind::User:
      estimates_stale_ = estimates_stale_ || has_lifetimes();
      if (const User* user = change.new_row<User>()) {
        main_keys_[user->id] = user->main_access_key;
      } else {
        main_keys_.erase(change.old_row<User>()->id);
      }
      return;
    case EntityKind::Keypair:
      estimates_stale_ = estimates_stale_ || has_lifetimes();
      if (const Keypair* key = change.new_row<Keypair>()) {
        key_policies_[key->access_key] = key->resource_policy;
      } else {
        key_policies_.erase(change.old_row<Keypair>()->access_key);
      }
      return;
    default:
      return;
  }
}

void Mirror::on_slot_declaration(const Change& change) {
  if (const SlotDeclaration* slot = change.new_row<SlotDeclaration>()) {
    declared_[slot->name] = slot->type;
  } else {
    declared_.erase(change.old_row<SlotDeclaration>()->name);
  }
  slot_types_stale_ = true;
  slot_types_ = SlotTypes();
  for (const auto& [name, type] : declared_) {
    // What contradicts a built-in type was refused when it was reported.
    static_cast<void>(slot_types_.add(name, type));
  }
}

std::uint32_t Mirror::group_of(const ResourceGroupName& name) {
  const auto [it, is_new] =
      group_index_.try_emplace(name, static_cast<std::uint32_t>(groups_.size()));
  if (is_new) groups_.emplace_back().name = name;
  return it->second;
}

void Mirror::on_resource_group(const Change& change) {
  auto after = row<ResourceGroup>(change.after);
  const ResourceGroupName name =
      after != nullptr ? after->name : change.old_row<ResourceGroup>()->name;
  Group& group = groups_[group_of(name)];
  group.row = std::move(after);
  if (read_settings(group)) estimates_stale_ = true;
}

Mirror::AgentRecord& Mirror::agent_record(const AgentId& id) { return agents_[id]; }

void Mirror::on_agent(const Change& change) {
  const Agent *before = change.old_row<Agent>(), *after = change.new_row<Agent>();
  if (before != nullptr && after != nullptr && same_facts(*before, *after)) return;
  const AgentId& id = after != nullptr ? after->id : before->id;
  AgentRecord& record = agent_record(id);
  const std::uint32_t group = after != nullptr ? group_of(after->resource_group) : kNone;
  if (record.group != group && record.group != kNone) {
    Group& left = groups_[record.group];
    const AgentIndex at = *left.agents.find(id);
    left.agents.erase(at);
    left.held_by_agent.erase(left.held_by_agent.begin() + static_cast<std::ptrdiff_t>(at));
    left.tenants.left(at);
  }
  if (record.group != group && group != kNone) {
    Group& joined = groups_[group];
    const AgentIndex at = joined.agents.add(id);
    joined.held_by_agent.insert(joined.held_by_agent.begin() + static_cast<std::ptrdiff_t>(at),
                                &record.held);
    joined.tenants.came(at);
    joined.tenants.note(at);
  }
  record.group = group;
  record.has_row = after != nullptr;
  const std::vector<HeldOn> held = record.held;  // they move
  for (const HeldOn& one : held) rekey(one.key.second);
  AgentFacts& facts = record.facts;
  facts.capacity.clear();
  facts.takes_sessions = false;
  facts.architecture = 0;
  facts.labels.clear();
  facts.devices.clear();
  if (after != nullptr) {
    facts.labels = labels_of(*after);
    facts.takes_sessions = after->status == AgentStatus::Alive && after->schedulable;
    facts.architecture = architectures_.intern(after->architecture);
    for (const auto& [name, amount] : after->available_slots) {
      const SlotIndex slot = slots_.intern(name);
      facts.capacity.emplace_back(slot, std::max<std::int64_t>(0, amount.units));
      auto devices = devices_of(*after, name, slot_types_.type_of(name), amount);
      if (!devices.empty()) facts.devices.emplace(slot, std::move(devices));
    }
  }
  refresh_agent(id, record);
}

// Those that are new get their numbers together: one by one, all behind each would be moved.
void Mirror::meet_agents(std::span<const Change> changes) {
  const auto is_new = [](const Change& change) {
    return change.entity == EntityKind::Agent && change.before == nullptr;
  };
  if (std::ranges::count_if(changes, is_new) < kMetTogether) return;
  std::map<std::uint32_t, std::vector<AgentId>> met;
  for (const Change& change : changes) {
    if (!is_new(change)) continue;
    const Agent& agent = *change.new_row<Agent>();
    AgentRecord& record = agent_record(agent.id);
    if (record.group != kNone) continue;
    record.group = group_of(agent.resource_group);
    met[record.group].push_back(agent.id);
  }
  for (auto& [group, ids] : met) {
    Group& joined = groups_[group];
    joined.agents.add_all(ids);
    const auto known = std::exchange(joined.held_by_agent, {});
    joined.held_by_agent.resize(joined.agents.size(), nullptr);
    for (const AgentId& id : ids) {
      joined.held_by_agent[*joined.agents.find(id)] = &agents_.find(id)->second.held;
    }
    auto next = known.begin();  // they stay in order
    for (auto& held : joined.held_by_agent) {
      if (held == nullptr) held = *next++;
    }
    joined.tenants.begin_anew();
  }
}

void Mirror::refresh_agent(const AgentId& id, AgentRecord& record) {
  if (record.has_row) {
    AgentTable& table = groups_[record.group].agents;
    table.set(*table.find(id), record.facts);
    return;
  }
  const auto is_zero = [](std::int64_t units) { return units == 0; };
  if (record.facts.containers == 0 && std::ranges::all_of(record.facts.granted, is_zero)) {
    agents_.erase(id);
  }
}

void Mirror::grant(const Kernel& kernel, int sign) {
  AgentRecord& record = agent_record(kernel.agent);
  if (sign > 0) {
    ++record.facts.containers;
  } else {
    --record.facts.containers;
  }
  for (const auto& [name, amount] : kernel.occupied_slots) {
    const SlotIndex slot = slots_.intern(name);
    if (slot >= record.facts.granted.size()) record.facts.granted.resize(slot + 1, 0);
    record.facts.granted[slot] += sign * amount.units;
  }
  grant_devices(record.facts, kernel, sign);
}

void Mirror::grant_devices(AgentFacts& facts, const Kernel& kernel, int sign) {
  for (const auto& [name, grants] : kernel.devices.members()) {
    const SlotIndex slot = slots_.intern(name);
    auto& granted = facts.device_granted[slot];
    std::int64_t total = 0;
    for (const auto& [index, amount] : grants.members()) {
      std::uint32_t device = 0;
      const auto parsed = std::from_chars(index.data(), index.data() + index.size(), device);
      const auto units = parse_amount(slot_types_.type_of(name), amount.as_string("0"));
      if (parsed.ec != std::errc() || device >= kDevicesMax || !units) continue;
      if (device >= granted.size()) granted.resize(device + 1, 0);
      granted[device] += sign * units->units;
      total += units->units;
    }
    std::uint32_t& hosted = facts.hosted[slot][hosted_class(total)];
    hosted = sign > 0 ? hosted + 1 : hosted - 1;
  }
}

void Mirror::on_kernel(const Change& change) {
  const Kernel *before = change.old_row<Kernel>(), *after = change.new_row<Kernel>();
  on_pending_kernel(before, after);
  if (before != nullptr && after != nullptr && grants_alike(*before, *after)) return;
  const bool held = before != nullptr && holds(*before),
             holds_now = after != nullptr && holds(*after);
  if (held) {
    grant(*before, -1);
    release(*before);
  }
  if (holds_now) {
    grant(*after, 1);
    hold(*after);
  }
  if (held) {
    if (const auto it = agents_.find(before->agent); it != agents_.end()) {
      const AgentId id = before->agent;
      refresh_agent(id, it->second);
    }
  }
  if (holds_now && !(held && before->agent == after->agent)) {
    refresh_agent(after->agent, agents_.find(after->agent)->second);
  }
}

std::uint32_t Mirror::scope_of(ScopeKind kind, std::string_view scope) {
  return scope_named(usage_key(kind, scope));
}

std::uint32_t Mirror::scope_named(std::string_view name) {
  const std::uint32_t at = scope_names_.intern(name);
  if (at >= scopes_.size()) {
    scopes_.resize(at + 1);
    scope_versions_.resize(at + 1, 1);
  }
  return at;
}

void Mirror::on_usage(const Change& change) {
  const Usage* after = change.new_row<Usage>();
  const std::uint32_t at = scope_named(after != nullptr ? after->id : change.old_row<Usage>()->id);
  ++scope_versions_[at];
  if (!owners_of(at).empty()) user_changes_.note(at);
  Scope& scope = scopes_[at];
  scope = {};
  if (after == nullptr) return;
  scope.sessions = after->sessions;
  scope.sftp_sessions = after->sftp_sessions;
  for (const auto& [name, amount] : after->slots) {
    const SlotIndex slot = slots_.intern(name);
    if (slot >= scope.units.size()) scope.units.resize(slot + 1, 0);
    scope.units[slot] = amount.units;
  }
}

void Mirror::on_project(const Change& change) {
  const Project *before = change.old_row<Project>(), *after = change.new_row<Project>();
  const ProjectId& id = after != nullptr ? after->id : before->id;
  cohorts_.on_project(before, after, scope_of(ScopeKind::Project, to_string(id)), slots_);
}

std::uint32_t Mirror::owner_of(const Session& session) {
  const auto [it, is_new] =
      owner_index_.try_emplace({session.user, session.project, session.domain, session.access_key},
                               static_cast<std::uint32_t>(owners_.size()));
  if (!is_new) return it->second;
  OwnerEntry& entry = owners_.emplace_back();
  entry.owner = {session.user, session.project, session.domain, session.access_key};
  const auto put = [&](ScopeKind kind, std::string_view scope) {
    entry.scopes[static_cast<std::size_t>(kind)] = scope_of(kind, scope);
  };
  put(ScopeKind::Domain, session.domain.view());
  put(ScopeKind::Project, to_string(session.project));
  put(ScopeKind::Keypair, session.access_key.view());
  put(ScopeKind::User, to_string(session.user));
  const std::uint32_t user = entry.scopes[static_cast<std::size_t>(ScopeKind::User)];
  user_scopes_.push_back(user);
  if (user >= owners_of_.size()) owners_of_.resize(user + 1);
  owners_of_[user].push_back(it->second);
  return it->second;
}

const KeypairPolicy* Mirror::user_policy(const UserId& user) const noexcept {
  const auto key = main_keys_.find(user);
  if (key == main_keys_.end()) return nullptr;
  const auto name = key_policies_.find(key->second);
  if (name == key_policies_.end()) return nullptr;
  const auto policy = policies_.find(name->second);
  return policy == policies_.end() ? nullptr : policy->second.get();
}

const Project* Mirror::project(const ProjectId& id) const noexcept {
  const auto it = projects_.find(id);
  return it == projects_.end() ? nullptr : it->second.get();
}

const SlotMap* Mirror::project_limits(const ProjectId& project) const noexcept {
  const Project* row = this->project(project);
  return row == nullptr ? nullptr : &row->total_resource_slots;
}

const SlotMap* Mirror::domain_limits(const DomainName& domain) const noexcept {
  const auto it = domains_.find(domain);
  return it == domains_.end() ? nullptr : &it->second->total_resource_slots;
}

DependencyState Mirror::dependency(const SessionId& id) const noexcept {
  const auto it = sessions_.find(id);
  return it == sessions_.end() ? DependencyState::Unknown : it->second.as_dependency;
}

}  // namespace bai::sched
