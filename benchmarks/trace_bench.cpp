// Recorded work: pods that share GPUs (openb, FGD) and batch jobs (EASY). $BAI_TRACES names the
// folder with `openb`, `swf` and `philly`; without it pods and nodes of the same shape are
// generated, and the job logs are left out.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "numbered.hpp"
#include "sched/planner.hpp"
#include "sim/batch.hpp"
#include "sim/openb.hpp"
#include "sim/text_input.hpp"

namespace {

using namespace bai;

constexpr std::uint64_t kSeed = 42;
constexpr std::int64_t kPlacedDefault42 = 8354;  // what an independent simulator places
constexpr Timestamp kNow{1'000'000'000'000'000'000};
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

std::string traces() {
  const char* folder = std::getenv("BAI_TRACES");
  return folder != nullptr ? folder : "";
}

// Shares of models, devices and requests roughly as published.
Result<sim::OpenbTrace> generated() {
  sim::OpenbTrace trace;
  trace.podlist = "generated";
  std::mt19937_64 random{kSeed};
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(random() % n); };
  constexpr const char* kModels[] = {"P100", "T4", "V100M16", "V100M32", "A10", "G2", "G3"};
  for (std::int64_t i = 0; i < 1213; ++i) {
    const std::int64_t gpus = std::int64_t{1} << below(4);
    trace.nodes.push_back(
        {32'000 + 16'000 * below(7), 262'144 + 131'072 * below(5), gpus, kModels[below(7)]});
    trace.node_order.push_back(static_cast<std::uint32_t>(i));
  }
  for (std::int64_t i = 0; i < 8152; ++i) {
    sim::Pod pod;
    pod.cpu_milli = 2000 << below(4);
    pod.memory_mib = 2 * pod.cpu_milli << below(3);
    const std::int64_t kind = below(100);
    pod.num_gpu = kind < 13 ? 0 : kind < 97 ? 1 : std::int64_t{1} << (1 + below(3));
    pod.gpu_milli = pod.num_gpu == 0 ? 0 : kind < 51 ? 100 * (1 + below(9)) : sim::kGpuMilli;
    trace.pods.push_back(pod);
  }
  for (int i = 0; i < 10'866; ++i) {
    trace.arrivals.push_back(static_cast<std::uint32_t>(random() % trace.pods.size()));
  }
  return trace;
}

Result<sim::OpenbTrace> recorded(const std::string& folder) {
  sim::OpenbTrace trace;
  trace.podlist = "openb_pod_list_default";
  const std::string nodes = folder + "/openb/openb_node_list_gpu_node.csv",
                    pods = folder + "/openb/openb_pod_list_default.csv",
                    stream = folder + "/openb/streams/openb_pod_list_default.seed42.txt.gz";
  const auto node_text = sim::read_input(nodes);
  if (!node_text) return std::unexpected(node_text.error());
  auto read_nodes = sim::parse_nodes(nodes, *node_text);
  if (!read_nodes) return std::unexpected(read_nodes.error());
  trace.nodes = std::move(*read_nodes);
  const auto pod_text = sim::read_input(pods);
  if (!pod_text) return std::unexpected(pod_text.error());
  auto read_pods = sim::parse_pods(pods, *pod_text);
  if (!read_pods) return std::unexpected(read_pods.error());
  trace.pods = std::move(*read_pods);
  const auto order = sim::read_input(stream);
  if (!order) return std::unexpected(order.error());
  if (auto fine = sim::parse_stream(stream, *order, trace); !fine) {
    return std::unexpected(fine.error());
  }
  return trace;
}

// The planner fed with rows alone: neither a State nor accounting takes time.
class Pods {
 public:
  explicit Pods(const sim::OpenbTrace& trace) : trace_(trace), planner_(policies(), limits()) {
    ResourceGroup group;
    group.name = kGroup;
    group.scheduler = "fifo";
    group.selector = "fgd";
    group.queue_discipline = QueueDiscipline::SkipAhead;
    group.policy_options.set("validators", Json::array());
    group.policy_options.set("selector", sim::workload_options(sim::target_workload(trace.pods)));
    add(nullptr, row(group));
    for (std::size_t i = 0; i < trace.node_order.size(); ++i) {
      add_agent(i, trace.nodes[trace.node_order[i]]);
    }
    feed();
  }

  void submit(std::uint32_t arrival) {
    const sim::Pod& pod = trace_.pods[trace_.arrivals[arrival]];
    Session session;
    session.id = numbered<SessionId>(arrival + 1);
    session.type = SessionType::Batch;
    session.resource_group = kGroup;
    session.created_at = kNow + seconds(arrival);
    if (!pod.gpu_spec.empty()) session.resource_opts = wish(pod.gpu_spec);
    Kernel kernel;
    kernel.id = numbered<KernelId>(arrival + 1);
    kernel.session = session.id;
    kernel.architecture = "x86_64";
    kernel.requested_slots.set("cpu", Amount{pod.cpu_milli});
    kernel.requested_slots.set("mem", Amount{pod.memory_mib * kMiB});
    if (pod.num_gpu > 0) kernel.requested_slots.set("cuda.shares", Amount{pod.demand()});
    session_ = row(session);
    kernel_ = row(kernel);
    add(nullptr, session_);
    add(nullptr, kernel_);
  }
  Plan plan() { return planner_.plan(kNow, kSeed); }
  // What became of the one submitted last.
  void settle(const Plan& plan) {
    if (plan.placements.empty()) {
      add(session_, nullptr);
      add(kernel_, nullptr);
      return;
    }
    const Placement& placement = plan.placements.front();
    Session session = *session_;
    session.status = SessionStatus::Running;
    Kernel kernel = *kernel_;
    kernel.status = KernelStatus::Running;
    kernel.agent = placement.kernels.front().second;
    kernel.occupied_slots = kernel.requested_slots;
    Json devices = Json::object();
    for (const PlacedDevice& d : placement.devices) {
      Json amounts = devices.find(d.slot) != nullptr ? *devices.find(d.slot) : Json::object();
      amounts.set(std::to_string(d.device), format_amount(SlotType::Count, d.amount));
      devices.set(d.slot, std::move(amounts));
    }
    kernel.devices = std::move(devices);
    add(session_, row(session));
    add(kernel_, row(kernel));
  }
  void feed() {
    planner_.feed({++version_}, changes_);
    changes_.clear();
  }

 private:
  static const ResourceGroupName kGroup;

  static std::shared_ptr<const PolicyRegistry> policies() {
    auto registry = std::make_shared<PolicyRegistry>();
    if (!add_builtin_policies(*registry)) std::abort();
    return registry;
  }
  static PlanLimits limits() {
    PlanLimits limits;
    limits.sessions_max = 0xffff'ffff;
    limits.steps_max = ~std::uint64_t{0};
    limits.explain = false;
    return limits;
  }
  template <class E>
  static std::shared_ptr<const E> row(const E& entity) {
    return std::make_shared<const E>(entity);
  }
  template <class E>
  void add(std::shared_ptr<const E> before, std::nullptr_t) {
    changes_.push_back({EntityTraits<E>::kind, std::move(before), nullptr, false});
  }
  template <class E>
  void add(std::nullptr_t, std::shared_ptr<const E> after) {
    changes_.push_back({EntityTraits<E>::kind, nullptr, std::move(after), false});
  }
  template <class E>
  void add(std::shared_ptr<const E> before, std::shared_ptr<const E> after) {
    changes_.push_back({EntityTraits<E>::kind, std::move(before), std::move(after), false});
  }
  static Json wish(std::string_view models) {
    Json allowed = Json::array();
    for (;;) {
      const auto bar = models.find('|');
      allowed.push_back(models.substr(0, bar));
      if (bar == models.npos) break;
      models.remove_prefix(bar + 1);
    }
    return Json::object({{"agent_labels", Json::object({{"gpu-model", std::move(allowed)}})}});
  }
  void add_agent(std::size_t number, const sim::GpuNode& node) {
    Agent agent;
    agent.id = AgentId(fmt::format("n{:06}", number));
    agent.resource_group = kGroup;
    agent.architecture = "x86_64";
    agent.available_slots.set("cpu", Amount{node.cpu_milli});
    agent.available_slots.set("mem", Amount{node.memory_mib * kMiB});
    if (node.gpus > 0) {
      agent.available_slots.set("cuda.shares", Amount{node.gpus * sim::kGpuMilli});
      Json devices = Json::array();
      for (std::int64_t i = 0; i < node.gpus; ++i) devices.push_back("1");
      agent.devices.set("cuda.shares", std::move(devices));
    }
    if (!node.model.empty()) agent.labels.set("gpu-model", node.model);
    add(nullptr, row(agent));
  }

  const sim::OpenbTrace& trace_;
  Planner planner_;
  std::vector<Change> changes_;
  std::shared_ptr<const Session> session_;
  std::shared_ptr<const Kernel> kernel_;
  std::uint64_t version_ = 0;
};

const ResourceGroupName Pods::kGroup("sim");

// Every fourth of them, all, or all of them four times.
std::vector<std::uint32_t> scaled(const std::vector<std::uint32_t>& all, std::int64_t percent) {
  std::vector<std::uint32_t> some;
  for (std::int64_t i = 0; i < percent; i += 100) {
    const std::size_t step = percent < 100 ? static_cast<std::size_t>(100 / percent) : 1;
    for (std::size_t at = 0; at < all.size(); at += step) some.push_back(all[at]);
  }
  return some;
}

// Argument: how many percent of its nodes and pods.
std::optional<sim::OpenbTrace> trace_for(benchmark::State& state) {
  auto trace = traces().empty() ? generated() : recorded(traces());
  if (!trace) {
    state.SkipWithError(trace.error().message.c_str());
    return std::nullopt;
  }
  trace->node_order = scaled(trace->node_order, state.range(0));
  trace->arrivals = scaled(trace->arrivals, state.range(0));
  return std::move(*trace);
}

void finish(benchmark::State& state, const sim::OpenbTrace& trace, std::int64_t placed) {
  const auto decisions =
      static_cast<double>(trace.arrivals.size()) * static_cast<double>(state.iterations());
  state.counters["decisions/s"] = benchmark::Counter(decisions, benchmark::Counter::kIsRate);
  state.counters["placed"] = static_cast<double>(placed);
  state.counters["nodes"] = static_cast<double>(trace.node_order.size());
  state.SetLabel(trace.podlist);
  if (!traces().empty() && state.range(0) == 100 && placed != kPlacedDefault42) {
    state.SkipWithError("places another number of pods than the published results say");
  }
}

// Every arrival decided by itself on what those before it have left; nobody leaves. Only the
// planner's pass is timed.
void fgd_arrivals(benchmark::State& state) {
  const auto trace = trace_for(state);
  if (!trace) return;
  std::int64_t placed = 0;
  for (auto _ : state) {
    Pods pods(*trace);
    placed = 0;
    double seconds = 0;
    for (std::uint32_t i = 0; i < trace->arrivals.size(); ++i) {
      pods.submit(i);
      pods.feed();
      const auto begin = std::chrono::steady_clock::now();
      const Plan plan = pods.plan();
      seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      placed += static_cast<std::int64_t>(plan.placements.size());
      pods.settle(plan);
    }
    state.SetIterationTime(seconds);
  }
  finish(state, *trace, placed);
}

// The same decisions in one pass over all of them; what the mirror has to follow is left out.
void fgd_pass(benchmark::State& state) {
  const auto trace = trace_for(state);
  if (!trace) return;
  Pods pods(*trace);
  for (std::uint32_t i = 0; i < trace->arrivals.size(); ++i) pods.submit(i);
  pods.feed();
  std::int64_t placed = 0;
  for (auto _ : state) placed = static_cast<std::int64_t>(pods.plan().placements.size());
  finish(state, *trace, placed);
}

// A simulated log, without reading it. Argument: how many percent of its jobs, the first ones.
void easy(benchmark::State& state, const char* file, bool philly, std::int64_t procs) {
  if (traces().empty()) return state.SkipWithError("BAI_TRACES names no folder");
  const std::string path = traces() + file;
  const auto text = sim::read_input(path);
  if (!text) return state.SkipWithError(text.error().message.c_str());
  auto log = philly ? sim::parse_philly(path, *text, procs) : sim::parse_swf(path, *text, procs);
  if (!log) return state.SkipWithError(log.error().message.c_str());
  log->jobs.resize(log->jobs.size() * static_cast<std::size_t>(state.range(0)) / 100);
  const auto policy = sim::find_batch_policy("EASY");
  if (!policy) return state.SkipWithError(policy.error().message.c_str());
  for (auto _ : state) {
    const auto run =
        sim::run_batch(*log, sim::one_pool(procs), **policy, (*policy)->settings(), kSeed, {});
    if (!run) return state.SkipWithError(run.error().message.c_str());
  }
  state.counters["jobs"] = static_cast<double>(log->jobs.size());
}

BENCHMARK(fgd_arrivals)
    ->Arg(25)
    ->Arg(100)
    ->Arg(400)
    ->ArgName("percent")
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(fgd_pass)->Arg(25)->Arg(100)->Arg(400)->ArgName("percent")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(easy, kth_sp2, "/swf/KTH-SP2-1996-2.1-cln.swf.gz", false, 100)
    ->Arg(25)
    ->Arg(50)
    ->Arg(100)
    ->ArgName("percent")
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);
BENCHMARK_CAPTURE(easy, philly_512, "/philly/philly.csv.gz", true, 512)
    ->Arg(25)
    ->Arg(50)
    ->Arg(100)
    ->ArgName("percent")
    ->Unit(benchmark::kMillisecond)
    ->Iterations(1);

}  // namespace

BENCHMARK_MAIN();
