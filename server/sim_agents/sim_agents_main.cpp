// bai-sim-agents: many simulated agents for one manager.
#include <fmt/core.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <mutex>

#include "sim_agents/node_list.hpp"
#include "sim_agents/sim_agent_host.hpp"

namespace {

using namespace bai;

class StderrLog final : public LogSink {
 public:
  bool is_verbose = false;
  void write(LogLevel level, std::string_view component,
             std::string_view message) noexcept override {
    if (level == LogLevel::Debug && !is_verbose) return;
    const std::lock_guard lock(mutex_);
    fmt::print(stderr, "bai-sim-agents: {}: {}\n", component, message);
  }

 private:
  std::mutex mutex_;
};

struct Arguments {
  Arguments() { host.behaviour.keeps_records = false; }
  server::SimHostOptions host;
  std::size_t count = 0, every = 1;
  std::string nodes, prefix = "sim-", group = "default", architecture = "x86_64";
  std::string cpu = "8", mem = "32g", gpu = "0", gpu_slot = "cuda.device";
  std::vector<std::string> images;
  double heartbeat = 3;
  std::vector<double> answer, pull, create, destroy, batch;
};

bool to_range(const char* name, const std::vector<double>& seconds_pair, DelayRange& range) {
  if (seconds_pair.empty()) return true;
  range.least = {static_cast<std::int64_t>(seconds_pair.front() * 1e9)};
  range.most = {static_cast<std::int64_t>(seconds_pair.back() * 1e9)};
  if (range.least.ns >= 0 && range.most >= range.least) return true;
  fmt::print(stderr, "bai-sim-agents: --{}: the second number must not be the smaller\n", name);
  return false;
}

Result<std::vector<SimAgentSpec>> uniform_agents(const Arguments& arguments) {
  SlotMap capacity;
  const SlotTypes types;
  const auto add = [&](std::string_view slot, const std::string& text) -> Status {
    const auto amount = parse_amount(types.type_of(slot), text);
    if (!amount) return std::unexpected(amount.error());
    if (amount->units > 0) capacity.set(slot, *amount);
    return {};
  };
  for (const auto& [slot, text] :
       {std::pair{std::string("cpu"), arguments.cpu}, std::pair{std::string("mem"), arguments.mem},
        std::pair{arguments.gpu_slot, arguments.gpu}}) {
    if (auto ok = add(slot, text); !ok) return std::unexpected(ok.error());
  }
  std::vector<SimAgentSpec> specs(arguments.count);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    specs[i].id = AgentId(fmt::format("{}{:05}", arguments.prefix, i));
    specs[i].capacity = capacity;
  }
  return specs;
}

void add_options(CLI::App& app, Arguments& a) {
  app.add_option("--manager", a.host.event_addr, "Event address of the manager, tcp://HOST:PORT")
      ->capture_default_str();
  auto* count = app.add_option("--count", a.count, "So many equal agents (--cpu, --mem, --gpu)")
                    ->check(CLI::Range(1, 100'000));
  auto* nodes = app.add_option(
      "--nodes", a.nodes,
      "One agent for each row of a node list (columns sn,cpu_milli,memory_mib,gpu,model)");
  count->excludes(nodes);
  app.add_option("--every", a.every, "Keep only every K-th row")
      ->check(CLI::Range(1, 100'000))
      ->needs(nodes);
  app.add_option("--prefix", a.prefix, "Of the ids of equal agents")->capture_default_str();
  app.add_option("--cpu", a.cpu, "Cores of equal agents")->capture_default_str();
  app.add_option("--mem", a.mem, "Memory of equal agents")->capture_default_str();
  app.add_option("--gpu", a.gpu, "Devices of equal agents")->capture_default_str();
  app.add_option("--gpu-slot", a.gpu_slot, "Slot of the devices")->capture_default_str();
  app.add_option("--resource-group", a.group, "At the first registration")->capture_default_str();
  app.add_option("--architecture", a.architecture)->capture_default_str();
  app.add_option("--image", a.images, "Canonical name that agents can run (default: any)");
  app.add_option("--rpc-addr", a.host.rpc_addr, "Where to listen; port * means any free one")
      ->capture_default_str();
  app.add_option("--advertised-host", a.host.advertised_host,
                 "Host name under which the manager reaches this program");
  app.add_option("--heartbeat-interval", a.heartbeat, "Seconds")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 3600.0));
  const auto delay = [&](const char* name, std::vector<double>& into, const char* what) {
    app.add_option(name, into, what)->expected(1, 2);
  };
  delay("--answer-delay", a.answer, "Seconds, or least and most: of every answer");
  delay("--pull-delay", a.pull, "... to pull an image");
  delay("--create-delay", a.create, "... to create a kernel");
  delay("--destroy-delay", a.destroy, "... to destroy one");
  delay("--batch-delay", a.batch, "... of a batch command that does not say so itself");
  app.add_option("--create-failure", a.host.behaviour.create_failure, "Share of creations")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--batch-failure", a.host.behaviour.batch_failure, "Share of batch commands")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--lose-requests", a.host.lose_requests, "Share of calls that never arrive")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--lose-replies", a.host.lose_replies, "Share of answers that never arrive")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", a.host.seed, "Of all that is random")->capture_default_str();
  app.add_flag("--keep-records", a.host.behaviour.keeps_records,
               "Remember every kernel and say at the end what became of them");
}

// Waits for SIGINT or SIGTERM; says once that all agents have been heard of.
void wait_for_signal(const sigset_t& signals, server::SimAgentHost& host, std::size_t agents) {
  constexpr timespec kLook{0, 50'000'000};
  bool is_ready = false;
  for (;;) {
    const int number =
        is_ready ? sigwaitinfo(&signals, nullptr) : sigtimedwait(&signals, nullptr, &kLook);
    if (number > 0) return;
    if (is_ready) continue;  // interrupted
    const auto stats = host.stats();
    if (stats.announced < agents || stats.events.pending_events > 0) continue;
    is_ready = true;
    fmt::print("bai-sim-agents: ready, {} agents at {}\n", agents, host.rpc_addr());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Simulates agents for a bai-manager-server: they answer, beat and run nothing.");
  Arguments arguments;
  StderrLog log;
  add_options(app, arguments);
  app.add_flag("--verbose", log.is_verbose, "Log details");
  CLI11_PARSE(app, argc, argv);
  if (arguments.count == 0 && arguments.nodes.empty()) {
    fmt::print(stderr, "bai-sim-agents: say --count N or --nodes FILE.csv\n");
    return 2;
  }
  SimBehaviour& behaviour = arguments.host.behaviour;
  behaviour.heartbeat_interval = {static_cast<std::int64_t>(arguments.heartbeat * 1e9)};
  if (!to_range("answer-delay", arguments.answer, behaviour.answer) ||
      !to_range("pull-delay", arguments.pull, behaviour.pull) ||
      !to_range("create-delay", arguments.create, behaviour.create) ||
      !to_range("destroy-delay", arguments.destroy, behaviour.destroy) ||
      !to_range("batch-delay", arguments.batch, behaviour.batch)) {
    return 2;
  }
  auto specs = arguments.nodes.empty()
                   ? uniform_agents(arguments)
                   : server::load_node_list(arguments.nodes, arguments.every, arguments.gpu_slot);
  if (!specs) {
    fmt::print(stderr, "bai-sim-agents: {}\n", specs.error().message);
    return 2;
  }
  for (SimAgentSpec& spec : *specs) {
    spec.resource_group = arguments.group;
    spec.architecture = arguments.architecture;
    spec.images = arguments.images;
  }
  const std::size_t agents = specs->size();
  const bool keeps_records = behaviour.keeps_records;
  arguments.host.agents = std::move(*specs);
  arguments.host.log = &log;

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);  // before any thread is started
  auto host = server::SimAgentHost::create(std::move(arguments.host));
  if (!host) {
    fmt::print(stderr, "bai-sim-agents: {}\n", host.error().message);
    return 1;
  }
  (*host)->start();
  wait_for_signal(signals, **host, agents);
  const bool heard = (*host)->stop(seconds(2));
  const auto stats = (*host)->stats();
  fmt::print(
      "bai-sim-agents: stopped; {} requests, {} events, {} heartbeats, {} refused for room\n",
      stats.totals.requests, stats.totals.events, stats.totals.heartbeats, stats.totals.no_room);
  if (keeps_records) {
    fmt::print(
        "bai-sim-agents: {} kernels created, {} of them twice, {} live; {} creations repeated, {} "
        "agents overfull\n",
        stats.created, stats.created_twice, stats.kernels, stats.creates_repeated, stats.overfull);
  }
  return heard ? 0 : 3;
}
