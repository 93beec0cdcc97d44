// Life and death of a simulated agent.
#include <fmt/format.h>

#include <algorithm>

#include "base/assert.hpp"
#include "runtime/sim_agents_impl.hpp"

namespace bai {

SimAgent::Impl::Impl(SimAgentSpec agent_spec, SimBehaviour agent_behaviour, Clock& agent_clock,
                     Executor& agent_executor, std::uint64_t seed, Emit emit)
    : spec(std::move(agent_spec)),
      behaviour(std::move(agent_behaviour)),
      clock(agent_clock),
      executor(agent_executor),
      random(seed),
      emit_event(std::move(emit)) {
  if (spec.addr.empty()) spec.addr = fmt::format("tcp://{}:6001", spec.id.view());
}

void SimAgent::Impl::after(Duration delay, Task task) {
  executor.run_after(delay, [weak = weak_from_this(), at = process, t = std::move(task)]() mutable {
    const auto self = weak.lock();
    if (self && self->process == at) self->act(std::move(t));
  });
}

void SimAgent::Impl::act(Task task) {
  if (is_hanging) {
    backlog.push_back(std::move(task));
  } else {
    task();
  }
}

void SimAgent::Impl::emit(AgentEventBody body) {
  ++(std::holds_alternative<AgentHeartbeat>(body) ? totals.heartbeats : totals.events);
  if (emit_event) emit_event(AgentEvent{spec.id, std::move(body)});
}

void SimAgent::Impl::respond(AgentReplyHandler reply, Result<AgentReply> result) {
  after(sim::draw(random, behaviour.answer),
        [r = std::move(reply), value = std::move(result)]() mutable { r(std::move(value)); });
}

void SimAgent::Impl::announce(Duration first_beat) {
  BAI_ASSERT(!is_up, "a simulated agent is started twice");
  is_up = true;
  ++process;
  emit(AgentStarted{"self-started"});
  for (const auto& [id, kernel] : kernels) {
    if (kernel.batch && !kernel.batch->is_told) watch_batch(id, kernel);
  }
  after(first_beat, [this] { beat(); });
}

void SimAgent::Impl::beat() {
  AgentInfo info;
  info.addr = spec.addr;
  info.public_host = "127.0.0.1";
  info.region = "local";
  info.resource_group = spec.resource_group;
  info.architecture = spec.architecture;
  info.version = spec.version;
  for (const auto& [name, amount] : spec.capacity) {
    const SlotType type = spec.slot_types.type_of(name);
    info.slots.emplace_back(name, format_amount(type, amount));
    info.slot_types.emplace_back(name, std::string(to_string(type)));
    const SlotName parts = split_slot_name(name);
    Json plugin = Json::object({{"version", spec.version}});
    if (parts.is_accelerator() && !spec.accelerator_model.empty()) {
      plugin.set("model_name", spec.accelerator_model);
    }
    info.compute_plugins.set(std::string(parts.device), std::move(plugin));
  }
  emit(AgentHeartbeat{std::move(info)});
  after(behaviour.heartbeat_interval, [this] { beat(); });
}

void SimAgent::Impl::die(bool kernels_survive) {
  is_up = is_hanging = false;
  ++process;
  std::deque<Task> doomed;
  doomed.swap(backlog);
  pulling.clear();
  for (auto it = kernels.begin(); it != kernels.end();) {
    if (kernels_survive && it->second.phase == Phase::Running) {
      ++it;
      continue;
    }
    ++totals.kernels_lost;
    it = remove(it);
  }
}

SimAgent::Impl::Kernels::iterator SimAgent::Impl::remove(Kernels::iterator kernel) {
  held -= kernel->second.slots;
  held.prune_zeros();
  auto& record = records[kernel->first];
  record.is_live = record.is_running = false;
  const KernelId id = kernel->first;
  const auto next = kernels.erase(kernel);
  forget_record(id);
  return next;
}

void SimAgent::Impl::forget_record(const KernelId& id) {
  if (!behaviour.keeps_records && !kernels.contains(id)) records.erase(id);
}

SimAgent::SimAgent(SimAgentSpec spec, SimBehaviour behaviour, Clock& clock, Executor& executor,
                   std::uint64_t seed, Emit emit)
    : impl_(std::make_shared<Impl>(std::move(spec), std::move(behaviour), clock, executor, seed,
                                   std::move(emit))) {}

SimAgent::~SimAgent() = default;

void SimAgent::start(Duration first_beat) { impl_->announce(first_beat); }

void SimAgent::stop(std::string_view reason) {
  if (!impl_->is_up) return;
  impl_->emit(AgentTerminated{std::string(reason)});
  impl_->die(true);
}

void SimAgent::handle(AgentRequest request, AgentReplyHandler reply) {
  impl_->handle(std::move(request), std::move(reply));
}

void SimAgent::crash(bool kernels_survive) { impl_->die(kernels_survive); }

void SimAgent::hang(bool on) {
  if (!impl_->is_up) return;
  impl_->is_hanging = on;
  while (!impl_->is_hanging && !impl_->backlog.empty()) {
    Task next = std::move(impl_->backlog.front());
    impl_->backlog.pop_front();
    next();
  }
}

Status SimAgent::kill_kernel(const KernelId& id, std::int64_t exit_code) {
  const auto found = impl_->kernels.find(id);
  if (found == impl_->kernels.end() || found->second.phase != Impl::Phase::Running) {
    return fail(ErrorCode::NotFound,
                fmt::format("agent {} runs no kernel {}", impl_->spec.id.view(), to_string(id)));
  }
  KernelTerminated event{id, found->second.session, "self-terminated", exit_code,
                         found->second.log};
  ++impl_->totals.kernels_lost;
  impl_->remove(found);
  if (impl_->is_up) {
    impl_->act([impl = impl_.get(), e = std::move(event)]() mutable { impl->emit(std::move(e)); });
  }
  return {};
}

void SimAgent::fail_next_creates(std::string kind, std::uint32_t count, bool late) {
  impl_->fail_kind = std::move(kind);
  impl_->fail_count = count;
  impl_->fail_late = late;
}

void SimAgent::set_capacity(SlotMap capacity) { impl_->spec.capacity = std::move(capacity); }
SimBehaviour& SimAgent::behaviour() { return impl_->behaviour; }
const SimAgentSpec& SimAgent::spec() const { return impl_->spec; }
bool SimAgent::is_up() const { return impl_->is_up; }
bool SimAgent::is_hanging() const { return impl_->is_hanging; }
const SlotMap& SimAgent::held() const { return impl_->held; }
const SlotMap& SimAgent::max_held() const { return impl_->max_held; }
const SimAgentTotals& SimAgent::totals() const { return impl_->totals; }
const std::map<KernelId, SimKernelRecord>& SimAgent::records() const { return impl_->records; }

std::vector<KernelId> SimAgent::running_kernels() const {
  std::vector<KernelId> ids;
  for (const auto& [id, kernel] : impl_->kernels) {
    if (kernel.phase == Impl::Phase::Running) ids.push_back(id);
  }
  return ids;
}

std::vector<KernelId> SimAgent::live_kernels() const {
  std::vector<KernelId> ids;
  for (const auto& [id, kernel] : impl_->kernels) ids.push_back(id);
  return ids;
}

}  // namespace bai
