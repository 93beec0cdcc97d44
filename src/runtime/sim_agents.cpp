// The network between a manager and simulated agents.
#include "bai_manager/sim_agents.hpp"

#include <fmt/format.h>

#include <atomic>
#include <utility>

#include "base/assert.hpp"
#include "runtime/random.hpp"

namespace bai {

struct SimulatedCluster::Impl : std::enable_shared_from_this<SimulatedCluster::Impl> {
  struct Node {
    std::unique_ptr<SimAgent> agent;
    std::uint64_t connection = 0;  // what was sent on an earlier one never arrives
  };
  struct OpenRequest {
    AgentId agent;
    AgentReplyHandler reply;
    Executor::TimerId timer = 0;
  };
  struct WaitingEvent {
    AgentEvent event;
    Executor::TimerId timer = 0;
  };

  Impl(Clock& c, Executor& e, std::uint64_t seed) : clock(c), executor(e), random(seed) {}

  SimAgent* find(const AgentId& id) {
    const auto at = nodes.find(id);
    return at == nodes.end() ? nullptr : at->second.agent.get();
  }

  // `deliver` runs as often as the message arrives.
  void transmit(const LinkFaults& faults, std::function<void()> deliver) {
    if (faults.lose > 0 && random.chance(faults.lose)) return;
    const int copies = faults.duplicate > 0 && random.chance(faults.duplicate) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
      Duration wait = faults.latency;
      if (faults.hold > 0 && random.chance(faults.hold)) {
        wait = wait + nanoseconds(random.between(0, faults.hold_most.ns));
      }
      executor.run_after(wait, [weak = weak_from_this(), deliver] {
        if (weak.lock()) deliver();
      });
    }
  }

  // ---- requests

  void request(const AgentEndpoint& endpoint, AgentRequest body, Duration timeout,
               AgentReplyHandler reply) {
    const std::uint64_t id = next_request++;
    if (const auto* trigger = std::get_if<TriggerBatch>(&body)) ++triggers[trigger->kernel];
    if (const auto* create = std::get_if<CreateKernels>(&body)) {
      for (const KernelSpec& kernel : create->kernels) ++creates[kernel.id];
    }
    OpenRequest& open_request = open[id];
    open_request.agent = endpoint.id;
    open_request.reply = std::move(reply);
    open_request.timer = executor.run_after(timeout, [weak = weak_from_this(), id] {
      if (const auto self = weak.lock()) {
        self->complete(id, fail(ErrorCode::DeadlineExceeded, "the agent has not answered in time"));
      }
    });
    SimAgent* agent = find(endpoint.id);
    if (!agent || !agent->is_up() || agent->spec().addr != endpoint.addr) {
      executor.run_after(request_faults.latency, [weak = weak_from_this(), id] {
        if (const auto self = weak.lock()) {
          self->complete(id, fail(ErrorCode::Unavailable, "nobody answers at the agent's address",
                                  "agent-unreachable"));
        }
      });
      return;
    }
    transmit(request_faults, [this, id, agent, connection = nodes[endpoint.id].connection,
                              message = std::move(body)] {
      if (nodes[agent->spec().id].connection != connection) return;
      agent->handle(message, [weak = weak_from_this(), id](Result<AgentReply> result) {
        if (const auto self = weak.lock()) self->send_reply(id, std::move(result));
      });
    });
  }

  void send_reply(std::uint64_t id, Result<AgentReply> result) {
    transmit(reply_faults, [this, id, answer = std::move(result)] { complete(id, answer); });
  }

  void complete(std::uint64_t id, Result<AgentReply> result) {
    const auto found = open.find(id);
    if (found == open.end()) return;
    OpenRequest done = std::move(found->second);
    open.erase(found);
    executor.cancel(done.timer);
    done.reply(std::move(result));
  }

  void drop_requests_of(const AgentId& id, std::string_view why) {
    std::vector<std::uint64_t> ids;
    for (const auto& [number, request] : open) {
      if (request.agent == id) ids.push_back(number);
    }
    for (const auto number : ids) {
      complete(number, fail(ErrorCode::Unavailable, std::string(why), "agent-disconnected"));
    }
  }

  // ---- events

  void emit(AgentEvent event) {
    if (std::holds_alternative<AgentHeartbeat>(event.body)) {
      transmit(event_faults, [this, e = std::move(event)] {
        if (sink) sink(e, {});
      });
      return;
    }
    const std::uint64_t id = next_event++;
    waiting[id].event = std::move(event);
    send_event(id);
  }

  void send_event(std::uint64_t id) {
    const auto found = waiting.find(id);
    if (found == waiting.end()) return;
    const SimAgent* agent = find(found->second.event.agent);
    if (!agent || !agent->is_hanging()) {
      transmit(event_faults, [this, id, event = found->second.event] { deliver_event(id, event); });
    }
    found->second.timer = executor.run_after(resend_after, [weak = weak_from_this(), id] {
      if (const auto self = weak.lock()) self->send_event(id);
    });
  }

  void deliver_event(std::uint64_t id, const AgentEvent& event) {
    if (!sink) return;
    sink(event, [weak = weak_from_this(), id, &ex = executor](bool taken) {
      if (!taken) return;
      ex.post([weak, id] {
        if (const auto self = weak.lock()) self->acknowledge(id);
      });
    });
  }

  void acknowledge(std::uint64_t id) {
    const auto found = waiting.find(id);
    if (found == waiting.end()) return;
    executor.cancel(found->second.timer);
    waiting.erase(found);
  }

  void crash(const AgentId& id, bool kernels_survive) {
    Node& node = nodes.at(id);
    node.agent->crash(kernels_survive);
    ++node.connection;
    for (auto it = waiting.begin(); it != waiting.end();) {
      if (it->second.event.agent == id) {
        executor.cancel(it->second.timer);
        it = waiting.erase(it);
      } else {
        ++it;
      }
    }
    drop_requests_of(id, "the agent has closed the connection");
  }

  Clock& clock;
  Executor& executor;
  runtime::Random random;
  Sink sink;
  LinkFaults request_faults, reply_faults, event_faults;
  Duration resend_after = seconds(2);
  std::map<AgentId, Node> nodes;
  std::map<std::uint64_t, OpenRequest> open;
  std::map<std::uint64_t, WaitingEvent> waiting;
  std::uint64_t next_request = 1, next_event = 1;
  std::atomic<std::uint64_t> asker = 0;  // counts disconnects
  std::map<KernelId, std::uint32_t> creates, triggers;
};

SimulatedCluster::SimulatedCluster(Clock& clock, Executor& executor, std::uint64_t seed)
    : impl_(std::make_shared<Impl>(clock, executor, seed)) {}

SimulatedCluster::~SimulatedCluster() {
  auto open = std::exchange(impl_->open, {});
  for (auto& [id, request] : open) {
    impl_->executor.cancel(request.timer);
    request.reply(fail(ErrorCode::Unavailable, "the simulated cluster is gone", "gateway-stopped"));
  }
}

void SimulatedCluster::set_sink(Sink sink) { impl_->sink = std::move(sink); }

SimAgent& SimulatedCluster::add(SimAgentSpec spec, SimBehaviour behaviour, Duration first_beat) {
  const AgentId id = spec.id;
  BAI_ASSERT(!impl_->nodes.contains(id), "two simulated agents have the same id");
  auto agent = std::make_unique<SimAgent>(std::move(spec), std::move(behaviour), impl_->clock,
                                          impl_->executor, impl_->random.next(),
                                          [weak = std::weak_ptr(impl_)](AgentEvent event) {
                                            if (const auto self = weak.lock())
                                              self->emit(std::move(event));
                                          });
  SimAgent& added = *agent;
  impl_->nodes[id].agent = std::move(agent);
  added.start(first_beat);
  return added;
}

void SimulatedCluster::request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
                               AgentReplyHandler reply) {
  impl_->executor.post([weak = std::weak_ptr(impl_), asker = impl_->asker.load(), agent, timeout,
                        body = std::move(request), answer = std::move(reply)]() mutable {
    if (const auto self = weak.lock()) {
      if (self->asker != asker) return;  // it died before this was sent
      self->request(agent, std::move(body), timeout, std::move(answer));
    } else {
      answer(fail(ErrorCode::Unavailable, "the simulated cluster is gone", "gateway-stopped"));
    }
  });
}

void SimulatedCluster::forget(const AgentId& agent) {
  impl_->executor.post([weak = std::weak_ptr(impl_), agent] {
    if (const auto self = weak.lock()) {
      self->drop_requests_of(agent, "the connection to the agent was dropped");
    }
  });
}

void SimulatedCluster::disconnect() {
  ++impl_->asker;
  auto doomed = std::exchange(impl_->open, {});
  for (auto& [id, request] : doomed) impl_->executor.cancel(request.timer);
}

void SimulatedCluster::set_request_faults(LinkFaults faults) { impl_->request_faults = faults; }
void SimulatedCluster::set_reply_faults(LinkFaults faults) { impl_->reply_faults = faults; }
void SimulatedCluster::set_event_faults(LinkFaults faults) { impl_->event_faults = faults; }
void SimulatedCluster::set_resend_after(Duration wait) { impl_->resend_after = wait; }

void SimulatedCluster::crash(const AgentId& id, bool kernels_survive) {
  BAI_ASSERT(find(id), "there is no such simulated agent");
  impl_->crash(id, kernels_survive);
}

void SimulatedCluster::come_back(const AgentId& id, Duration first_beat) {
  SimAgent* agent = find(id);
  BAI_ASSERT(agent, "there is no such simulated agent");
  if (agent->is_up()) {
    agent->hang(false);
  } else {
    agent->start(first_beat);
  }
}

void SimulatedCluster::hang(const AgentId& id) {
  SimAgent* agent = find(id);
  BAI_ASSERT(agent, "there is no such simulated agent");
  agent->hang(true);
}

void SimulatedCluster::inject(AgentEvent event) { impl_->emit(std::move(event)); }

SimAgent* SimulatedCluster::find(const AgentId& id) { return impl_->find(id); }

std::vector<AgentId> SimulatedCluster::agents() const {
  std::vector<AgentId> ids;
  for (const auto& [id, node] : impl_->nodes) ids.push_back(id);
  return ids;
}

std::size_t SimulatedCluster::requests_open() const { return impl_->open.size(); }
std::size_t SimulatedCluster::events_waiting() const { return impl_->waiting.size(); }

namespace {

void add_up(SimKernelRecord& sum, const SimKernelRecord& part) {
  sum.id = part.id;
  sum.session = part.session;
  sum.creates += part.creates;
  sum.created += part.created;
  sum.started += part.started;
  sum.repeats_refused += part.repeats_refused;
  sum.batches += part.batches;
  sum.batches_refused += part.batches_refused;
  sum.destroys += part.destroys;
  sum.is_live = sum.is_live || part.is_live;
  sum.is_running = sum.is_running || part.is_running;
}

}  // namespace

SimKernelRecord SimulatedCluster::totals_of(const KernelId& id) const {
  SimKernelRecord sum;
  sum.id = id;
  for (const auto& [agent, node] : impl_->nodes) {
    const auto found = node.agent->records().find(id);
    if (found != node.agent->records().end()) add_up(sum, found->second);
  }
  return sum;
}

std::vector<SimKernelRecord> SimulatedCluster::all_records() const {
  std::map<KernelId, SimKernelRecord> sums;
  for (const auto& [agent, node] : impl_->nodes) {
    for (const auto& [id, record] : node.agent->records()) add_up(sums[id], record);
  }
  std::vector<SimKernelRecord> all;
  for (const auto& [id, record] : sums) all.push_back(record);
  return all;
}

std::map<KernelId, std::vector<AgentId>> SimulatedCluster::where_live() const {
  std::map<KernelId, std::vector<AgentId>> where;
  for (const auto& [agent, node] : impl_->nodes) {
    for (const KernelId& id : node.agent->live_kernels()) where[id].push_back(agent);
  }
  return where;
}

namespace {

std::uint32_t count_of(const std::map<KernelId, std::uint32_t>& counts, const KernelId& id) {
  const auto found = counts.find(id);
  return found == counts.end() ? 0 : found->second;
}

}  // namespace

std::uint32_t SimulatedCluster::creates_sent(const KernelId& id) const {
  return count_of(impl_->creates, id);
}
std::uint32_t SimulatedCluster::triggers_sent(const KernelId& id) const {
  return count_of(impl_->triggers, id);
}

}  // namespace bai
