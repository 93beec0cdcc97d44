#include "sim_agents/sim_agent_host.hpp"

#include <fmt/format.h>

#include <future>
#include <map>
#include <unordered_map>

#include "bai_manager/runtime.hpp"

namespace bai::server {

class SimAgentHost::Impl {
 public:
  explicit Impl(SimHostOptions options)
      : options_(std::move(options)), runtime_(options_.log), env_(runtime_.env()) {}

  ~Impl() {
    rpc_.reset();  // first: its handler posts to the agents' thread
    on_agents_thread([this] { agents_.clear(); });
  }

  Status open() {
    EventClientOptions events;
    events.addr = options_.event_addr;
    events.max_events = 65536 + options_.agents.size() * 64;
    events.log = options_.log;
    auto client = EventClient::create(std::move(events));
    if (!client) return std::unexpected(client.error());
    events_ = std::move(*client);

    RpcServerOptions server;
    server.log = options_.log;
    auto rpc = RpcServer::create(std::move(server), [this](DecodedRequest request, RpcReplier r) {
      on_request(std::move(request), std::move(r));
    });
    if (!rpc) return std::unexpected(rpc.error());
    rpc_ = std::move(*rpc);
    const AgentId primary = options_.agents.size() == 1 ? options_.agents.front().id : AgentId{};
    auto bound = rpc_->bind(options_.rpc_addr, primary);
    if (!bound) return std::unexpected(bound.error());
    addr_ = *bound;
    if (!options_.advertised_host.empty()) {
      addr_ = fmt::format("tcp://{}{}", options_.advertised_host, addr_.substr(addr_.rfind(':')));
    }
    std::uint64_t seed = options_.seed;
    for (SimAgentSpec& spec : options_.agents) {
      spec.addr = addr_;
      const AgentId id = spec.id;
      const bool is_new =
          agents_
              .emplace(id,
                       std::make_unique<SimAgent>(
                           spec, options_.behaviour, env_.clock, env_.loop, seed++,
                           [this](AgentEvent event) { events_->send(event.agent, event.body); }))
              .second;
      if (!is_new) {
        return fail(ErrorCode::InvalidArgument, fmt::format("two agents are called {}", id.view()));
      }
    }
    return {};
  }

  void start() {
    const auto count = static_cast<std::int64_t>(options_.agents.size());
    std::int64_t position = 0;
    for (const SimAgentSpec& spec : options_.agents) {
      const auto wait = nanoseconds(options_.behaviour.heartbeat_interval.ns / count * position++);
      env_.loop.run_after(wait, [this, id = spec.id] {
        const auto found = agents_.find(id);
        if (found != agents_.end() && !is_stopping_) found->second->start();
      });
    }
  }

  bool stop(Duration timeout) {
    on_agents_thread([this] {
      is_stopping_ = true;
      for (auto& [id, agent] : agents_) agent->stop();
    });
    return events_->flush(timeout);
  }

  SimHostStats stats() {
    SimHostStats stats;
    on_agents_thread([&] {
      for (const auto& [id, agent] : agents_) {
        const SimAgentTotals& one = agent->totals();
        stats.announced += one.heartbeats > 0;
        stats.kernels += agent->live_kernels().size();
        stats.totals.requests += one.requests;
        stats.totals.events += one.events;
        stats.totals.heartbeats += one.heartbeats;
        stats.totals.no_room += one.no_room;
        stats.totals.bad_reasons += one.bad_reasons;
        stats.totals.kernels_lost += one.kernels_lost;
      }
      add_records(stats);
    });
    stats.events = events_->stats();
    stats.rpc = rpc_->stats();
    return stats;
  }

  bool with_agent(const AgentId& id, const std::function<void(SimAgent&)>& visit) {
    bool found = false;
    on_agents_thread([&] {
      const auto at = agents_.find(id);
      if (at == agents_.end()) return;
      found = true;
      visit(*at->second);
    });
    return found;
  }

  const std::string& addr() const noexcept { return addr_; }

 private:
  // Agents' thread.
  void add_records(SimHostStats& stats) {
    std::map<KernelId, std::uint64_t> creations;
    for (const auto& [id, agent] : agents_) {
      for (const auto& [kernel, record] : agent->records()) {
        creations[kernel] += record.created;
        stats.creates_repeated += record.creates > 1 ? record.creates - 1 : 0;
      }
      stats.overfull += !agent->max_held().fits_in(agent->spec().capacity);
    }
    for (const auto& [kernel, times] : creations) {
      stats.created += times > 0;
      stats.created_twice += times > 1;
    }
  }

  template <class F>
  void on_agents_thread(F&& work) {
    std::promise<void> done;
    auto finished = done.get_future();
    env_.loop.post([&] {
      work();
      done.set_value();
    });
    finished.wait();
  }

  bool comes_to_nothing(double share) {
    return share > 0 && static_cast<double>(env_.entropy.next() >> 11U) * 0x1.0p-53 < share;
  }

  // I/O thread.
  void on_request(DecodedRequest request, RpcReplier replier) {
    if (comes_to_nothing(options_.lose_requests)) return replier.abandon();
    env_.loop.post([this, call = std::move(request), r = std::move(replier)]() mutable {
      const AgentId& name =
          call.agent.empty() && agents_.size() == 1 ? agents_.begin()->first : call.agent;
      const auto found = agents_.find(name);
      if (found == agents_.end()) return r.fail("AgentIdNotFoundError", call.agent.view());
      const bool wants_bytes = std::holds_alternative<DownloadFile>(call.request) ||
                               std::holds_alternative<DownloadSingle>(call.request);
      found->second->handle(std::move(call.request), [this, wants_bytes, replier = std::move(r)](
                                                         Result<AgentReply> result) mutable {
        if (comes_to_nothing(options_.lose_replies)) return replier.abandon();
        if (!result) return replier.fail(result.error().kind, result.error().message);
        if (wants_bytes) return replier.ok_bytes(std::move(result->data));
        replier.ok(std::move(result->value));
      });
    });
  }

  SimHostOptions options_;
  Runtime runtime_;  // of its threads, the loop's is the agents'
  Env env_;
  std::string addr_;
  std::unique_ptr<EventClient> events_;
  std::unique_ptr<RpcServer> rpc_;
  std::unordered_map<AgentId, std::unique_ptr<SimAgent>> agents_;  // agents' thread after open()
  bool is_stopping_ = false;                                       // agents' thread
};

namespace {

bool is_share(double value) { return value >= 0 && value <= 1; }

Status check(const SimHostOptions& options) {
  const auto refuse = [](std::string message) {
    return fail(ErrorCode::InvalidArgument, std::move(message));
  };
  if (options.agents.empty()) return refuse("no agents: at least one is needed");
  if (options.behaviour.heartbeat_interval.ns <= 0) {
    return refuse("heartbeat_interval: must be greater than 0");
  }
  for (const double share : {options.lose_requests, options.lose_replies,
                             options.behaviour.create_failure, options.behaviour.batch_failure}) {
    if (!is_share(share)) return refuse(fmt::format("{}: a share lies between 0 and 1", share));
  }
  const SimBehaviour& b = options.behaviour;
  for (const DelayRange& range : {b.answer, b.pull, b.create, b.destroy, b.batch}) {
    if (range.least.ns < 0 || range.most < range.least) {
      return refuse(fmt::format("a delay from {} to {} ms", range.least.ms(), range.most.ms()));
    }
  }
  return {};
}

}  // namespace

SimAgentHost::SimAgentHost(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SimAgentHost::~SimAgentHost() = default;

Result<std::unique_ptr<SimAgentHost>> SimAgentHost::create(SimHostOptions options) {
  if (auto ok = check(options); !ok) return std::unexpected(ok.error());
  auto impl = std::make_unique<Impl>(std::move(options));
  if (auto ok = impl->open(); !ok) return std::unexpected(ok.error());
  return std::unique_ptr<SimAgentHost>(new SimAgentHost(std::move(impl)));
}

void SimAgentHost::start() { impl_->start(); }
bool SimAgentHost::stop(Duration timeout) { return impl_->stop(timeout); }
const std::string& SimAgentHost::rpc_addr() const noexcept { return impl_->addr(); }
SimHostStats SimAgentHost::stats() const { return impl_->stats(); }
bool SimAgentHost::with_agent(const AgentId& id, const std::function<void(SimAgent&)>& visit) {
  return impl_->with_agent(id, visit);
}

}  // namespace bai::server
