// The mirror's pending sessions: what they ask for and the order in which they wait.
#include <algorithm>
#include <limits>

#include "base/text.hpp"
#include "sched/mirror.hpp"

namespace bai::sched {

namespace {

DependencyState as_dependency(const Session& session) {
  if (!is_terminal(session.status)) return DependencyState::Waiting;
  return session.status == SessionStatus::Terminated && session.result == SessionResult::Success
             ? DependencyState::Succeeded
             : DependencyState::Failed;
}

std::int32_t narrowed(std::int64_t number) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(
      number, std::numeric_limits<std::int32_t>::min(), std::numeric_limits<std::int32_t>::max()));
}

// Whether nothing differs that the queue or a policy looks at.
bool waits_alike(const Session& a, const Session& b) {
  return a.status == b.status && a.priority == b.priority && a.type == b.type &&
         a.job_priority == b.job_priority && a.is_preemptible == b.is_preemptible &&
         a.cluster_mode == b.cluster_mode && a.created_at == b.created_at && a.user == b.user &&
         a.project == b.project && a.domain == b.domain && a.access_key == b.access_key &&
         a.resource_group == b.resource_group && a.retry_at == b.retry_at &&
         a.requested_starts_at == b.requested_starts_at && a.dependencies == b.dependencies &&
         a.designated_agents == b.designated_agents && a.failed_agents == b.failed_agents &&
         a.session_group == b.session_group && a.batch_timeout == b.batch_timeout &&
         a.resource_opts == b.resource_opts;
}

// {"name": "text"} or {"name": ["text", ...]}, ordered by name. What is neither is left out.
LabelRule label_rule_of(const Json* object) {
  LabelRule rule;
  if (object == nullptr) return rule;
  for (const auto& [name, wanted] : object->members()) {
    std::vector<std::string> texts;
    if (wanted.is_string()) texts.emplace_back(wanted.as_string());
    for (const Json& one : wanted.items()) {
      if (one.is_string()) texts.emplace_back(one.as_string());
    }
    std::ranges::sort(texts);
    rule.emplace_back(name, std::move(texts));
  }
  std::ranges::sort(rule);
  return rule;
}

std::string key_of(const LabelRule& rule) {
  std::string key;
  for (const auto& [name, texts] : rule) {
    key += std::to_string(texts.size()) + ':' + std::to_string(name.size()) + ':' + name;
    for (const std::string& text : texts) key += std::to_string(text.size()) + ':' + text;
  }
  return key;
}

// Requirements of one request that are compared to find equal ones.
constexpr std::size_t kComparedMax = 64;

std::vector<AgentId> agent_ids(const std::vector<std::string>& names) {
  return {names.begin(), names.end()};
}

std::unique_ptr<PendingDetails> details_of(const Session& session) {
  const bool none = session.dependencies.empty() && session.designated_agents.empty() &&
                    session.failed_agents.empty() && session.retry_at == Timestamp{} &&
                    session.requested_starts_at == Timestamp{} && session.session_group.empty() &&
                    session.resource_opts.find("preferred_agent_labels") == nullptr &&
                    session.resource_opts.find("reservation") == nullptr &&
                    session.status_data.find("preempted_by") == nullptr;
  std::string policy = session_agent_policy(session);
  if (none && policy.empty()) return nullptr;
  auto details = std::make_unique<PendingDetails>();
  details->dependencies = session.dependencies;
  details->designated_agents = agent_ids(session.designated_agents);
  details->failed_agents = agent_ids(session.failed_agents);
  details->agent_selection_policy = std::move(policy);
  details->retry_at = session.retry_at;
  details->requested_starts_at = session.requested_starts_at;
  details->session_group = session.session_group;
  details->reservation = session_reservation(session);
  details->was_preempted = session.status_data.find("preempted_by") != nullptr;
  details->preferred_labels = label_rule_of(session.resource_opts.find("preferred_agent_labels"));
  return details;
}

void add_number(std::string& key, std::int64_t value) {
  key.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string key_of(const Requirement& requirement) {
  std::string key;
  add_number(key, requirement.architecture);
  add_number(key, requirement.labels);
  add_number(key, requirement.containers);
  for (const SlotRequest& r : requirement.slots) {
    add_number(key, r.slot);
    add_number(key, r.units);
  }
  for (const auto& part : requirement.parts) {
    add_number(key, -1 - static_cast<std::int64_t>(part.size()));
    for (const SlotRequest& r : part) {
      add_number(key, r.slot);
      add_number(key, r.units);
    }
  }
  return key;
}

bool ask_alike(const Requirement& a, const Requirement& b) {
  return a.architecture == b.architecture && a.labels == b.labels && a.containers == b.containers &&
         a.slots == b.slots && a.parts == b.parts;
}

// Equal requirements of one request get the same number: what is known of one holds for the other.
void number_requirements(std::vector<Requirement>& requirements, std::uint32_t request) {
  for (std::size_t i = 0; i < requirements.size(); ++i) {
    const auto known =
        requirements.begin() + static_cast<std::ptrdiff_t>(std::min(i, kComparedMax));
    const auto equal = std::find_if(requirements.begin(), known, [&](const Requirement& other) {
      return ask_alike(other, requirements[i]);
    });
    requirements[i].id = equal != known ? equal->id : (std::uint64_t{request} + 1) << 32 | i;
  }
}

// Adds `more` to `sum`, keeping the order of slot names.
void add_slots(std::vector<SlotRequest>& sum, const std::vector<SlotRequest>& more,
               const Names& slots) {
  for (const SlotRequest& r : more) {
    const auto at = std::ranges::lower_bound(
        sum, slots[r.slot], {},
        [&](const SlotRequest& s) -> const std::string& { return slots[s.slot]; });
    if (at == sum.end() || at->slot != r.slot) {
      sum.insert(at, r);
    } else {
      at->units = (Amount{at->units} + Amount{r.units}).units;
    }
  }
}

}  // namespace

std::string session_agent_policy(const Session& session) {
  const Json* policy = session.resource_opts.find("agent_selection_policy");
  if (policy == nullptr || policy->is_null()) return {};
  // What is no text is shown as it is written, so that the refusal can name it.
  return policy->is_string() ? base::lower(policy->as_string()) : policy->dump();
}

PendingIndex Mirror::waiting_place(const SessionId& id) {
  SessionRecord& record = sessions_[id];
  if (record.waiting != kNone) return record.waiting;
  if (free_places_.empty()) {
    record.waiting = static_cast<PendingIndex>(waiting_.size());
    waiting_.emplace_back();
  } else {
    record.waiting = free_places_.back();
    free_places_.pop_back();
  }
  Waiting& waiting = waiting_[record.waiting];
  ++waiting.generation;
  waiting.session.id = id;
  return record.waiting;
}

auto Mirror::by_age() const {
  return [this](PendingIndex a, PendingIndex b) {
    const PendingSession &x = waiting_[a].session, &y = waiting_[b].session;
    return std::tie(x.created_at, x.id) < std::tie(y.created_at, y.id);
  };
}

auto Mirror::created() const {
  return [this](PendingIndex at) { return waiting_[at].session.created_at; };
}

void Mirror::leave_queue(Waiting& waiting, PendingIndex at) {
  if (!waiting.queued) return;
  Group& group = groups_[waiting.group];
  const auto leave = [&](BandQueues& bands) {
    const auto band = bands.find(waiting.session.priority);
    if (band == bands.end()) return;  // kept from now on only
    band->second.erase(waiting.session.request, entry_of(at));
    if (band->second.size() == 0) bands.erase(band);
  };
  leave(group.bands);
  if (const auto band = group.owners.find(waiting.session.priority); band != group.owners.end()) {
    if (band->second.erase(waiting.session.owner, at, by_age(), created())) {
      group.owner_changes.note({waiting.session.priority, waiting.session.owner});
    }
    if (band->second.empty()) group.owners.erase(band);
  }
  if (group.keeps_shortest) leave(group.shortest);
  group.in_reservations.erase(at);
  --group.pending;
  waiting.queued = false;
  requests_.release(waiting.session.request);
}

void Mirror::touch(PendingIndex at) {
  Waiting& waiting = waiting_[at];
  if (waiting.dirty) return;
  waiting.dirty = true;
  leave_queue(waiting, at);
  touched_.push_back(at);
}

void Mirror::on_session(const Change& change) {
  const Session *before = change.old_row<Session>(), *after = change.new_row<Session>();
  const SessionId id = after != nullptr ? after->id : before->id;
  SessionRecord& record = sessions_[id];
  record.has_row = after != nullptr;
  on_running(record, after);
  record.as_dependency = after != nullptr ? as_dependency(*after) : DependencyState::Unknown;
  const bool pends = after != nullptr && after->status == SessionStatus::Pending;
  if (!pends) {
    if (record.waiting != kNone) {
      touch(record.waiting);
      waiting_[record.waiting].has_row = false;
    } else {
      drop_if_idle(id);
    }
    return;
  }
  if (before != nullptr && waits_alike(*before, *after)) return;
  const PendingIndex at = waiting_place(id);
  touch(at);
  Waiting& waiting = waiting_[at];
  waiting.has_row = true;
  waiting.group = group_of(after->resource_group);
  waiting.mode = after->cluster_mode;
  waiting.details = details_of(*after);
  PendingSession& session = waiting.session;
  session.created_at = after->created_at;
  session.priority = narrowed(after->priority);
  session.job_priority = narrowed(after->job_priority);
  session.is_preemptible = after->is_preemptible;
  session.type = after->type;
  session.estimate = after->batch_timeout.value_or(kUnknownEstimate);
  waiting.declared = session.estimate != kUnknownEstimate;
  session.owner = owner_of(*after);
  session.image = images_.intern(after->image);
  const Json* topology = after->resource_opts.find("topology");
  waiting.topology = topology != nullptr && topology->is_string()
                         ? topology_names_.intern(topology->as_string())
                         : 0;
  release_labels(waiting);
  const LabelRule labels = label_rule_of(after->resource_opts.find("agent_labels"));
  waiting.labels = labels.empty() ? 0 : label_rules_.acquire(key_of(labels), labels);
  session.details = waiting.details.get();
}

void Mirror::on_pending_kernel(const Kernel* before, const Kernel* after) {
  const bool was = before != nullptr && before->status == KernelStatus::Pending;
  const bool is = after != nullptr && after->status == KernelStatus::Pending;
  if (!was && !is) return;
  if (was && is && before->session == after->session &&
      before->architecture == after->architecture && before->local_rank == after->local_rank &&
      before->requested_slots == after->requested_slots) {
    return;
  }
  if (was) {
    const PendingIndex at = waiting_place(before->session);
    touch(at);
    waiting_[at].kernels.erase(before->id, [&](const PendingKernel& kernel) {
      kernel_requirements_.release(kernel.requirement);
    });
  }
  if (is) {
    const PendingIndex at = waiting_place(after->session);
    touch(at);
    waiting_[at].kernels.add({after->id, narrowed(after->local_rank), intern_requirement(*after)});
  }
}

std::uint32_t Mirror::intern_requirement(const Kernel& kernel) {
  Requirement requirement;
  requirement.architecture = architectures_.intern(kernel.architecture);
  for (const auto& [name, amount] : kernel.requested_slots) {
    requirement.slots.push_back({slots_.intern(name), std::max<std::int64_t>(0, amount.units)});
  }
  const std::string key = key_of(requirement);
  return kernel_requirements_.acquire(key, std::move(requirement));
}

std::uint32_t Mirror::compose_request(const Waiting& waiting) {
  Request request;
  request.mode = waiting.mode;
  const bool together = waiting.mode == ClusterMode::SingleNode && waiting.kernels.size() > 1;
  for (const PendingKernel& kernel : waiting.kernels) {
    Requirement one = kernel_requirements_[kernel.requirement];
    one.labels = waiting.labels;
    if (together) one.parts.push_back(one.slots);
    add_slots(request.total, one.slots, slots_);
    if (waiting.mode == ClusterMode::MultiNode || request.requirements.empty()) {
      request.requirements.push_back(one);
      continue;
    }
    Requirement& all = request.requirements.front();
    if (all.architecture != one.architecture) request.mixed_architectures = true;
    add_slots(all.slots, one.slots, slots_);
    all.parts.push_back(one.slots);
    ++all.containers;
  }
  std::string key;
  add_number(key,
             static_cast<std::int64_t>(request.mode) * 2 + (request.mixed_architectures ? 1 : 0));
  for (const Requirement& requirement : request.requirements) {
    const std::string one = key_of(requirement);
    add_number(key, static_cast<std::int64_t>(one.size()));
    key += one;
  }
  const std::uint32_t number = requests_.acquire(key, std::move(request));
  auto& requirements = requests_.writable(number).requirements;
  if (!requirements.empty() && requirements.front().id == 0) {
    number_requirements(requirements, number);
  }
  return number;
}

QueueEntry Mirror::entry_of(PendingIndex at) const {
  const PendingSession& session = waiting_[at].session;
  return {session.created_at.ns, session.estimate.ns, at};
}

std::size_t Mirror::waiting_before(PendingIndex at) const {
  const Waiting& waiting = waiting_[at];
  std::size_t count = 0;
  for (const auto& [priority, band] : groups_[waiting.group].bands) {
    if (priority == waiting.session.priority) {
      return count + band.count_before(entry_of(at));
    }
    count += band.size();
  }
  return count;
}

void Mirror::enter_band(BandQueues& bands, bool by_estimate, PendingIndex at) {
  const PendingSession& session = waiting_[at].session;
  bands.try_emplace(session.priority, EntryOrder(waiting_, by_estimate))
      .first->second.insert(session.request, entry_of(at));
}

void Mirror::enter_queue(Waiting& waiting, PendingIndex at) {
  Group& group = groups_[waiting.group];
  const PendingSession& session = waiting.session;
  enter_band(group.bands, false, at);
  if (group.owners[session.priority].insert(session.owner, at, by_age(), created())) {
    group.owner_changes.note({session.priority, session.owner});
  }
  if (group.keeps_shortest) enter_band(group.shortest, true, at);
}

void Mirror::release_labels(Waiting& waiting) {
  if (waiting.labels != 0) label_rules_.release(waiting.labels);
  waiting.labels = 0;
}

void Mirror::settle(PendingIndex at) {
  Waiting& waiting = waiting_[at];
  waiting.dirty = false;
  if (!waiting.has_row || waiting.kernels.empty()) {
    if (waiting.has_row || !waiting.kernels.empty()) return;
    const SessionId id = waiting.session.id;
    release_labels(waiting);
    waiting.session = {};
    waiting.group = kNone;
    waiting.topology = 0;
    waiting.details = nullptr;
    free_places_.push_back(at);
    sessions_[id].waiting = kNone;
    drop_if_idle(id);
    return;
  }
  waiting.kernels.settle();
  waiting.session.request = compose_request(waiting);
  Group& group = groups_[waiting.group];
  waiting.session.estimate =
      estimate_of(owner(waiting.session.owner).owner.user, declared_by(waiting), group);
  enter_queue(waiting, at);
  if (waiting.details != nullptr && !waiting.details->reservation.empty()) {
    group.in_reservations.insert(at);
  }
  ++group.pending;
  group.arrivals.push_back({at, waiting.generation});
  waiting.queued = true;
}

void Mirror::drop_if_idle(const SessionId& id) {
  const auto it = sessions_.find(id);
  if (it != sessions_.end() && !it->second.has_row && it->second.waiting == kNone &&
      (!it->second.running || it->second.running->held.empty())) {
    sessions_.erase(it);
  }
}

}  // namespace bai::sched
