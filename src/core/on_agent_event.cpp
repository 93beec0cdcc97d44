#include <fmt/format.h>

#include "core/accounting.hpp"
#include "core/handlers.hpp"
#include "core/lifecycle.hpp"

namespace bai::core {

namespace {

// Capacity as the agent tells it. A slot whose name is new declares its type; one whose amount
// cannot be read counts as absent, so that nothing is placed on it.
SlotMap read_capacity(Context& ctx, const AgentInfo& info) {
  for (const auto& [name, type_text] : info.slot_types) {
    const auto type = parse_slot_type(type_text);
    if (!type || ctx.state().slot_types().knows(name)) continue;
    ctx.changes.insert(SlotDeclaration{name, *type});
  }
  SlotMap slots;
  for (const auto& [name, text] : info.slots) {
    const auto amount = parse_amount(ctx.state().slot_types().type_of(name), text);
    if (amount && *amount <= kReportedMax) slots.set(name, *amount);
  }
  return slots;
}

ResourceGroupName home_group(const State& state, const std::string& wanted) {
  if (state.find<ResourceGroup>(ResourceGroupName(wanted)) != nullptr)
    return ResourceGroupName(wanted);
  ResourceGroupName found;
  state.table<ResourceGroup>().for_each([&](const ResourceGroup& group) {
    if (group.is_default) found = group.name;
    return found.empty();
  });
  return found;
}

void describe_agent(Agent& agent, const AgentInfo& info, SlotMap capacity) {
  agent.addr = info.addr;
  agent.public_key = info.public_key;
  agent.public_host = info.public_host;
  agent.region = info.region;
  agent.architecture = info.architecture;
  agent.version = info.version;
  agent.compute_plugins = info.compute_plugins;
  agent.available_slots = std::move(capacity);
  agent.status = AgentStatus::Alive;
  agent.lost_at = {};
}

bool same_description(const Agent& agent, const AgentInfo& info, const SlotMap& capacity) {
  return agent.status == AgentStatus::Alive && agent.addr == info.addr &&
         agent.public_key == info.public_key && agent.public_host == info.public_host &&
         agent.region == info.region && agent.architecture == info.architecture &&
         agent.version == info.version && agent.available_slots == capacity &&
         agent.compute_plugins == info.compute_plugins;
}

bool on(Context& ctx, const AgentId& id, const AgentHeartbeat& event) {
  SlotMap capacity = read_capacity(ctx, event.info);
  const Agent* known = ctx.state().find<Agent>(id);
  if (known == nullptr) {
    Agent agent;
    agent.id = id;
    agent.resource_group = home_group(ctx.state(), event.info.resource_group);
    if (agent.resource_group.empty()) return false;  // UnresolvableResourceGroup
    agent.first_contact = agent.last_seen = ctx.now;
    describe_agent(agent, event.info, std::move(capacity));
    ctx.changes.insert(std::move(agent));
    return true;
  }
  if (same_description(*known, event.info, capacity)) {
    ctx.changes.update_volatile<Agent>(id, [&](Agent& agent) { agent.last_seen = ctx.now; });
    return true;
  }
  const bool back = known->status != AgentStatus::Alive;
  if (known->addr != event.info.addr) ctx.outbox.forget.push_back(id);
  ctx.changes.update<Agent>(id, [&](Agent& agent) {
    agent.last_seen = ctx.now;
    describe_agent(agent, event.info, std::move(capacity));
  });
  if (back) reconcile_agent(ctx, id);
  return true;
}

bool on(Context& ctx, const AgentId& id, const AgentStarted&) {
  // Its heartbeat follows and says the rest; what it ran before may be gone.
  if (ctx.state().find<Agent>(id) == nullptr) return false;
  reconcile_agent(ctx, id);
  return true;
}

bool on(Context& ctx, const AgentId& id, const AgentTerminated& event) {
  const Agent* agent = ctx.state().find<Agent>(id);
  if (agent == nullptr || agent->status == AgentStatus::Lost) return false;
  const AgentStatus status = event.reason == "agent-restart" ? AgentStatus::Restarting
                             : event.reason == "agent-lost"  ? AgentStatus::Lost
                                                             : AgentStatus::Terminated;
  if (agent->status == status) return false;
  ctx.changes.update<Agent>(id, [&](Agent& a) {
    a.status = status;
    a.lost_at = ctx.now;
  });
  ctx.outbox.forget.push_back(id);
  return true;
}

// The kernels on `agent` that wait for `image`.
std::vector<KernelId> waiting_for(const State& state, const AgentId& agent,
                                  std::string_view image) {
  std::vector<KernelId> found;
  for (const KernelStatus status :
       {KernelStatus::Scheduled, KernelStatus::Preparing, KernelStatus::Pulling}) {
    state.table<Kernel>().for_each_in(index::kKernelByAgent,
                                      IndexPrefix{}.add(agent.view()).add(to_string(status)).str(),
                                      [&](const Kernel& kernel) {
                                        if (kernel.image == image) found.push_back(kernel.id);
                                        return true;
                                      });
  }
  return found;
}

bool on(Context& ctx, const AgentId& id, const ImagePullStarted& event) {
  bool acted = false;
  for (const KernelId& kernel : waiting_for(ctx.state(), id, event.image)) {
    if (ctx.state().find<Kernel>(kernel)->status == KernelStatus::Pulling) continue;
    set_kernel_status(ctx, kernel, KernelStatus::Pulling, "");
    acted = true;
  }
  return acted;
}

bool on(Context& ctx, const AgentId& id, const ImagePullFinished& event) {
  const auto kernels = waiting_for(ctx.state(), id, event.image);
  for (const KernelId& kernel : kernels) {
    set_kernel_status(ctx, kernel, KernelStatus::Prepared, "");
  }
  for (const KernelId& kernel : kernels) advance(ctx, ctx.state().find<Kernel>(kernel)->session);
  return !kernels.empty();
}

bool on(Context& ctx, const AgentId& id, const ImagePullFailed& event) {
  const auto kernels = waiting_for(ctx.state(), id, event.image);
  const std::string info = fmt::format("Image pull failed: {}", event.message);
  for (const KernelId& kernel : kernels) {
    set_kernel_status(ctx, kernel, KernelStatus::Cancelled, info);
    update_session(ctx.changes, ctx.state().find<Kernel>(kernel)->session, [&](Session& s) {
      s.status_data.set("error", Json::object({{"src", "agent"},
                                               {"name", "ImagePullFailed"},
                                               {"repr", info},
                                               {"agent_id", id.str()}}));
    });
  }
  // Only now: a session of which all kernels wait here is cancelled as a whole.
  for (const KernelId& kernel : kernels) advance(ctx, ctx.state().find<Kernel>(kernel)->session);
  return !kernels.empty();
}

// The kernel that an event means, when it is this agent's to speak of.
const Kernel* kernel_of(const Context& ctx, const AgentId& agent, const KernelId& id) {
  const Kernel* kernel = ctx.state().find<Kernel>(id);
  return kernel != nullptr && kernel->agent == agent ? kernel : nullptr;
}

bool move_kernel(Context& ctx, const AgentId& agent, const KernelId& id, KernelStatus from,
                 KernelStatus to) {
  const Kernel* kernel = kernel_of(ctx, agent, id);
  if (kernel == nullptr || kernel->status != from) return false;
  set_kernel_status(ctx, id, to, "");
  return true;
}

bool on(Context& ctx, const AgentId& id, const KernelPreparing& event) {
  return move_kernel(ctx, id, event.kernel, KernelStatus::Scheduled, KernelStatus::Preparing);
}
bool on(Context& ctx, const AgentId& id, const KernelPulling& event) {
  return move_kernel(ctx, id, event.kernel, KernelStatus::Scheduled, KernelStatus::Pulling);
}
bool on(Context& ctx, const AgentId& id, const KernelCreating& event) {
  return move_kernel(ctx, id, event.kernel, KernelStatus::Pulling, KernelStatus::Creating);
}

bool on(Context& ctx, const AgentId& id, const KernelStarted& event) {
  if (ctx.state().find<Agent>(id) == nullptr) return false;  // nobody that could be asked
  const Kernel* kernel = kernel_of(ctx, id, event.kernel);
  if (kernel == nullptr || is_terminal(kernel->status)) {
    // It runs although nothing here wants it: left over from an attempt that was given up.
    owe_destroy(ctx, id, event.kernel, event.session, "not-found-in-manager");
    return false;
  }
  const bool awaited =
      kernel->status == KernelStatus::Prepared || kernel->status == KernelStatus::Creating;
  if (!awaited || !kernel->create_sent) return false;
  const SessionId session = kernel->session;
  const SlotTypes& types = ctx.state().slot_types();
  update_kernel(ctx.changes, event.kernel, [&](Kernel& k) {
    k.container_id = event.container_id;
    k.kernel_host = event.kernel_host;
    k.repl_in_port = event.repl_in_port;
    k.repl_out_port = event.repl_out_port;
    k.service_ports = event.service_ports;
    if (!event.used_slots) return;
    // What the agent really took counts, never less than what was granted.
    for (const auto& [name, text] : *event.used_slots) {
      const auto amount = parse_amount(types.type_of(name), text);
      if (!amount || *amount > kReportedMax) continue;
      if (*amount > k.occupied_slots.get(name)) k.occupied_slots.set(name, *amount);
    }
  });
  set_kernel_status(ctx, event.kernel, KernelStatus::Running, "");
  advance(ctx, session);
  return true;
}

bool on(Context& ctx, const AgentId& id, const KernelTerminated& event) {
  const Kernel* kernel = kernel_of(ctx, id, event.kernel);
  if (kernel == nullptr) return false;
  if (!event.log.empty()) {
    const std::size_t keep = std::min(event.log.size(), ctx.options.kernel_log_max);
    ctx.changes.append(KernelLog{event.kernel, event.log.substr(event.log.size() - keep), ctx.now});
  }
  kernel_ended(ctx, event.kernel, event.reason, event.exit_code);
  return true;
}

bool on(Context& ctx, const AgentId& id, const KernelCancelled& event) {
  const Kernel* kernel = kernel_of(ctx, id, event.kernel);
  if (kernel == nullptr) return false;
  switch (kernel->status) {
    case KernelStatus::Scheduled:
    case KernelStatus::Preparing:
    case KernelStatus::Pulling:
    case KernelStatus::Creating:
      break;
    default:
      return false;
  }
  const SessionId session = kernel->session;
  if (kernel->create_sent) owe_destroy(ctx, id, event.kernel, session, "failed-to-start");
  set_kernel_status(ctx, event.kernel, KernelStatus::Cancelled, event.reason);
  advance(ctx, session);
  return true;
}

bool on(Context& ctx, const AgentId& id, const BatchFinished& event) {
  const Session* session = ctx.state().find<Session>(event.session);
  if (session == nullptr || session->type != SessionType::Batch || !session->batch_triggered ||
      session->result != SessionResult::Undefined) {
    return false;
  }
  const auto kernels = ctx.state().kernels_of(event.session);
  if (kernels.front()->agent != id) return false;
  update_session(ctx.changes, event.session, [&](Session& s) {
    s.result = event.success ? SessionResult::Success : SessionResult::Failure;
    s.status_data.set("kernel", Json::object({{"exit_code", event.exit_code}}));
  });
  update_kernel(ctx.changes, kernels.front()->id,
                [&](Kernel& k) { k.exit_code = event.exit_code; });
  const bool named = !event.reason.empty() && event.reason != "unknown";
  terminate(ctx, event.session,
            named ? event.reason : (event.success ? "task-finished" : "task-failed"), false);
  return true;
}

}  // namespace

bool on_agent_event(Context& ctx, const AgentEvent& event) {
  if (event.agent.empty()) return false;
  return std::visit([&](const auto& body) { return on(ctx, event.agent, body); }, event.body);
}

void reconcile_agent(Context& ctx, const AgentId& id) {
  std::vector<SessionId> sessions;
  ctx.state().table<Kernel>().for_each_in(index::kKernelByAgent, IndexPrefix{}.add(id.view()).str(),
                                          [&](const Kernel& kernel) {
                                            if (holds_resources(kernel.status))
                                              sessions.push_back(kernel.session);
                                            return true;
                                          });
  std::sort(sessions.begin(), sessions.end());
  sessions.erase(std::unique(sessions.begin(), sessions.end()), sessions.end());
  for (const SessionId& session : sessions) drive(ctx, session);

  std::vector<OperationId> owed;
  ctx.state().table<Operation>().for_each([&](const Operation& operation) {
    if (operation.kind == "destroy-kernel" &&
        operation.arguments["agent"].as_string() == id.view()) {
      owed.push_back(operation.id);
    }
    return true;
  });
  for (const OperationId& operation : owed) drive_operation(ctx, operation);
}

}  // namespace bai::core
