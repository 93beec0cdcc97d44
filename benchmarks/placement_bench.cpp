// How fast one kernel finds its agent: search, take and release on agents that are 85-88 % loaded.
//
// 60 % of the agents have 64 cores and 256 GiB, 30 % 128 cores, 1 TiB and 8 devices, 10 % 96 cores,
// 512 GiB and 4 devices; further slots are alike everywhere. Sessions have 1-8 kernels, half of the
// larger ones on one agent; 30 % want devices, or parts of one. No amount is rounded. Agents are
// filled at random to 85 % of the cores; then sessions come, the oldest leave while more than 88 %
// are taken, and a session that does not fit whole is rolled back. After 8,000 sessions what was
// taken becomes what agents are observed to have, as after a commit (not timed; nor is what the
// index does about it). Where the further slots are scarce the oldest session also leaves when one
// does not fit.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <deque>
#include <random>
#include <vector>

#include "sched/index/placement_index.hpp"

namespace {

using namespace bai;
using namespace bai::sched;
using What = KeyPart::What;

constexpr std::uint32_t kNoLimit = 0xffff'ffff;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr SlotIndex kDevices = 0, kCores = 1, kMemory = 2;
constexpr int kPass = 8000;  // sessions

enum class Policy { Concentrated, Dispersed, FirstFit };
enum class Way { Index, NaiveScan, VectorScan };

// A scan as fast as it gets: whether agents fit and the first parts of the key for several at a
// time, the rest of the key only where that is not worse than the best so far.
class VectorScan {
 public:
  explicit VectorScan(const AgentTable& agents) : agents_(agents) {}

  std::optional<AgentIndex> best(const Requirement& requirement, std::span<const KeyPart> key) {
    std::optional<AgentIndex> best;
    std::int64_t best_head = kWorst;
    const SlotColumn& first = *agents_.column(key[1].slot);
    const bool most = key[1].what == What::MostFree;
    for (AgentIndex at = 0; at < agents_.size(); at += kBlock) {
      const auto count =
          static_cast<AgentIndex>(std::min<std::size_t>(kBlock, agents_.size() - at));
      fit_.fill(-1);
      unused_.fill(0);
      for (const SlotRequest& r : requirement.slots) {
        const SlotColumn& column = *agents_.column(r.slot);
        if (r.units == 0) {
          count_some(column.observed.data() + at, unused_.data(), count);
        } else {
          narrow(column.free.data() + at, r.units, fit_.data(), count);
        }
      }
      const std::int64_t least = heads(first.free.data() + at, first.capacity.data() + at, most,
                                       fit_.data(), unused_.data(), head_.data(), count);
      if (least > best_head || least == kWorst) continue;
      for (AgentIndex i = 0; i < count; ++i) {
        if (fit_[i] == 0 || head_[i] > best_head) continue;
        if (best && !before(requirement, at + i, *best, key)) continue;
        best = at + i;
        best_head = head_[i];
      }
    }
    return best;
  }

 private:
  static constexpr AgentIndex kBlock = 512;
  static constexpr std::int64_t kWorst = std::numeric_limits<std::int64_t>::max();

  __attribute__((target_clones("avx2", "default"))) static void narrow(const std::int64_t* free,
                                                                       std::int64_t units,
                                                                       std::int64_t* fit,
                                                                       AgentIndex count) {
    for (AgentIndex i = 0; i < count; ++i) fit[i] &= -static_cast<std::int64_t>(free[i] >= units);
  }
  __attribute__((target_clones("avx2", "default"))) static void count_some(
      const std::int64_t* observed, std::int64_t* unused, AgentIndex count) {
    for (AgentIndex i = 0; i < count; ++i) unused[i] += static_cast<std::int64_t>(observed[i] > 0);
  }
  // Unused capabilities and the first amount as one number; amounts here are below 2^58.
  __attribute__((target_clones("avx2", "default"))) static std::int64_t heads(
      const std::int64_t* free, const std::int64_t* capacity, bool most, const std::int64_t* fit,
      const std::int64_t* unused, std::int64_t* out, AgentIndex count) {
    const std::int64_t sign = most ? -1 : 0;
    std::int64_t smallest = kWorst;
    for (AgentIndex i = 0; i < count; ++i) {
      const std::int64_t absent = -static_cast<std::int64_t>(capacity[i] == kAbsentSlot);
      const std::int64_t amount = (free[i] ^ sign) - sign;
      const std::int64_t value =
          (unused[i] << 60) + ((amount & ~absent) | ((std::int64_t{1} << 59) & absent));
      out[i] = (value & fit[i]) | (kWorst & ~fit[i]);
      smallest = out[i] < smallest ? out[i] : smallest;
    }
    return smallest;
  }
  bool before(const Requirement& requirement, AgentIndex a, AgentIndex b,
              std::span<const KeyPart> key) const {
    for (const KeyPart& part : key) {
      const std::int64_t mine = key_value(agents_, requirement, a, part);
      const std::int64_t its = key_value(agents_, requirement, b, part);
      if (mine != its) return mine < its;
    }
    return false;
  }

  const AgentTable& agents_;
  std::array<std::int64_t, kBlock> fit_{}, unused_{}, head_{};
};

struct Session {
  std::vector<Requirement> requirements;  // one for each agent that it needs
  std::size_t kernels = 0;
};

// The agents with what is granted on them, and an endless stream of sessions.
class Cluster {
 public:
  Cluster(std::size_t agents, std::size_t slots, bool scarce) : slots_(slots), scarce_(scarce) {
    for (std::size_t i = 0; i < agents; ++i) add_agent(i);
    key_.push_back({What::UnusedCapabilities, 0});
    for (SlotIndex s = 0; s < slots; ++s) key_.push_back({What::LeastFree, s});
    pool_.resize(1U << 15U);
    for (Session& session : pool_) session = draw();
    fill();
  }

  AgentTable table;
  PlacementIndex index;
  std::size_t requirements = 0, kernels = 0, failed = 0;  // placed; sessions that did not fit

  const Session& next() { return pool_[drawn_++ % pool_.size()]; }
  std::span<const KeyPart> key(Policy policy) {
    if (policy == Policy::FirstFit) return {};
    const What what = policy == Policy::Concentrated ? What::LeastFree : What::MostFree;
    if (key_.back().what != what) {
      for (KeyPart& part : std::span(key_).subspan(1)) part.what = what;
    }
    return key_;
  }

  std::optional<AgentIndex> find(const Requirement& requirement, Policy policy, Way way) {
    const auto parts = key(policy);
    if (way == Way::Index) return index.best(table, requirement, parts, kNoLimit);
    if (way == Way::NaiveScan) return scan_best(table, requirement, parts, kNoLimit, {});
    return vector_scan_.best(requirement, parts);
  }
  bool place(const Session& session, Policy policy, Way way) {
    count_ = 0;
    for (const Requirement& requirement : session.requirements) {
      const auto agent = find(requirement, policy, way);
      if (!agent) {
        release(session, chosen());
        return false;
      }
      change(*agent, requirement, 1);
      chosen_[count_++] = *agent;
    }
    return true;
  }
  void release(const Session& session, std::span<const AgentIndex> agents) {
    for (const AgentIndex at : agents) table.fetch(at);
    for (std::size_t i = agents.size(); i-- > 0;) change(agents[i], session.requirements[i], -1);
  }
  std::span<const AgentIndex> chosen() const { return std::span(chosen_).first(count_); }

  // One session comes; those that must make way leave.
  void step(Policy policy, Way way) {
    const Session& session = next();
    if (place(session, policy, way)) {
      start(session);
      requirements += count_;
      kernels += session.kernels;
    } else {
      ++failed;
      if (scarce_ && !running_.empty()) end_oldest();  // the cores never run out
    }
    while (taken_ * 100 > cores_ * 88) end_oldest();
  }
  bool is_warm() const { return taken_ * 1000 > cores_ * 875; }
  std::size_t drawn() const { return drawn_; }

  // What is taken becomes what the agents are observed to have granted; the index follows at once,
  // since that is part of a commit and not of a placement.
  void settle(Policy policy) {
    std::ranges::sort(touched_);
    touched_.erase(std::ranges::unique(touched_).begin(), touched_.end());
    for (const AgentIndex at : touched_) settle(at);
    touched_.clear();
    for (const bool devices : {false, true}) {
      const auto other = std::ranges::find_if(pool_, [&](const Session& session) {
        return (session.requirements.front().slots[kDevices].units != 0) == devices;
      });
      find(other->requirements.front(), policy, Way::Index);
    }
  }

 private:
  struct Running {
    const Session* session;
    std::array<AgentIndex, 8> agents;
  };
  void end_oldest() {
    const Running& oldest = running_.front();
    release(*oldest.session, std::span(oldest.agents).first(oldest.session->requirements.size()));
    running_.pop_front();
  }
  void start(const Session& session) {
    Running& running = running_.emplace_back();
    running.session = &session;
    std::copy_n(chosen_.begin(), count_, running.agents.begin());
  }

  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }

  void add_agent(std::size_t i) {
    const std::size_t kind = i * 7 % 10;
    AgentFacts facts;
    facts.takes_sessions = true;
    const std::int64_t devices = kind < 6 ? 0 : kind < 9 ? 8 : 4;
    const std::int64_t cores = kind < 6 ? 64 : kind < 9 ? 128 : 96;
    const std::int64_t memory = kind < 6 ? 256 : kind < 9 ? 1024 : 512;
    if (devices > 0) facts.capacity.emplace_back(kDevices, devices * 1000);
    facts.capacity.emplace_back(kCores, cores * 1000);
    facts.capacity.emplace_back(kMemory, memory * kGiB);
    for (SlotIndex s = 3; s < slots_; ++s)
      facts.capacity.emplace_back(s, scarce_ ? 12'000 : 100'000);
    cores_ += cores * 1000;
    const auto at = static_cast<AgentIndex>(table.size());
    table.insert(at, AgentId(fmt::format("agent-{:06}", i)));
    table.set(at, facts);
    facts_.push_back(std::move(facts));
  }

  Session draw() {
    Session session;
    session.kernels = 1 + random_() % 8;
    const bool merged = session.kernels > 1 && random_() % 2 == 0;
    const bool devices = random_() % 10 < 3;
    const bool parts = random_() % 2 == 0;
    const auto kernel = [&] {
      Requirement r;
      std::int64_t share = 0;
      if (devices) share = parts ? between(100, 999) : 1000 << (random_() % 10 < 6 ? 0 : 1);
      r.slots.push_back({kDevices, share});
      r.slots.push_back({kCores, between(500, 8000)});
      r.slots.push_back({kMemory, between(kGiB / 2, 24 * kGiB)});
      for (SlotIndex s = 3; s < slots_; ++s) r.slots.push_back({s, between(50, 1500)});
      return r;
    };
    for (std::size_t i = 0; i < session.kernels; ++i) {
      Requirement r = kernel();
      if (!merged || i == 0) {
        session.requirements.push_back(std::move(r));
        continue;
      }
      Requirement& sum = session.requirements.front();
      for (std::size_t s = 0; s < sum.slots.size(); ++s) sum.slots[s].units += r.slots[s].units;
      ++sum.containers;
    }
    return session;
  }

  void fill() {
    std::size_t refused = 0;
    while (taken_ * 100 < cores_ * 85 && refused < 200) {
      const Session& session = next();
      count_ = 0;
      for (const Requirement& requirement : session.requirements) {
        const auto at = static_cast<AgentIndex>(random_() % table.size());
        if (!table.fits(at, requirement)) break;
        change(at, requirement, 1);
        chosen_[count_++] = at;
      }
      if (count_ < session.requirements.size()) {
        release(session, chosen());
        ++refused;
        continue;
      }
      refused = 0;
      start(session);
    }
    settle(Policy::FirstFit);
    index.reset();
  }

  void change(AgentIndex at, const Requirement& requirement, int sign) {
    table.take(at, requirement, sign);
    index.changed(at);
    taken_ += sign * requirement.slots[kCores].units;
    touched_.push_back(at);
  }
  void settle(AgentIndex at) {
    AgentFacts& facts = facts_[at];
    facts.granted.assign(slots_, 0);
    for (const auto& [slot, amount] : facts.capacity) {
      facts.granted[slot] = amount - table.free(at, slot);
    }
    facts.containers = table.containers(at);
    table.set(at, facts);
    index.changed(at);
  }

  std::size_t slots_;
  bool scarce_;
  std::mt19937_64 random_{42};
  std::vector<AgentFacts> facts_;
  std::vector<Session> pool_;
  std::size_t drawn_ = 0;
  std::deque<Running> running_;
  std::array<AgentIndex, 64> chosen_{};
  std::size_t count_ = 0;  // of `chosen_`
  std::vector<AgentIndex> touched_;
  std::vector<KeyPart> key_;
  std::int64_t cores_ = 0, taken_ = 0;
  VectorScan vector_scan_{table};
};

using Clock = std::chrono::steady_clock;

double nanoseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

// Of this thread alone, as the benchmark counts it.
double processor_nanoseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// Mean time of one step with another way to search, on the same cluster.
double step_time(Cluster& cluster, Policy policy, Way way, int sessions) {
  const std::size_t before = cluster.requirements;
  const double begin = processor_nanoseconds();
  for (int i = 0; i < sessions; ++i) cluster.step(policy, way);
  return (processor_nanoseconds() - begin) /
         static_cast<double>(std::max<std::size_t>(1, cluster.requirements - before));
}

void warm_up(Cluster& cluster, Policy policy) {
  const std::size_t least = cluster.drawn() + cluster.table.size() / 2 + 2000;
  const std::size_t most = cluster.drawn() + 4 * cluster.table.size() + 8000;
  while (cluster.drawn() < least || (!cluster.is_warm() && cluster.drawn() < most)) {
    for (int i = 0; i < kPass; ++i) cluster.step(policy, Way::Index);
    cluster.settle(policy);
  }
}

// Arguments: agents, slots. Reports requirements placed (a merged session counts once), kernels
// placed, and how many times longer the same takes with the two scans.
void place(benchmark::State& state, Policy policy, bool scarce) {
  const auto agents = static_cast<std::size_t>(state.range(0));
  Cluster cluster(agents, static_cast<std::size_t>(state.range(1)), scarce);
  warm_up(cluster, policy);
  const std::size_t requirements = cluster.requirements, kernels = cluster.kernels,
                    failed = cluster.failed, drawn = cluster.drawn();
  for (auto _ : state) {
    for (int i = 0; i < kPass; ++i) cluster.step(policy, Way::Index);
    state.PauseTiming();
    cluster.settle(policy);
    state.ResumeTiming();
  }
  const auto placed = static_cast<double>(cluster.requirements - requirements);
  using benchmark::Counter;
  state.counters["placements/s"] = Counter(placed, Counter::kIsRate);
  // In seconds, which are printed with their prefix.
  state.counters["each"] = Counter(placed, Counter::kIsRate | Counter::kInvert);
  state.counters["kernels/s"] =
      Counter(static_cast<double>(cluster.kernels - kernels), Counter::kIsRate);
  state.counters["failed%"] = 100.0 * static_cast<double>(cluster.failed - failed) /
                              static_cast<double>(cluster.drawn() - drawn);
  state.counters["index_MB"] = static_cast<double>(cluster.index.bytes()) / 1e6;
  const int sessions = static_cast<int>(std::max<std::size_t>(20, 2'000'000 / agents));
  const double naive = step_time(cluster, policy, Way::NaiveScan, sessions);
  state.counters["naive_ns"] = naive;
  if (policy != Policy::FirstFit) {
    state.counters["vector_ns"] = step_time(cluster, policy, Way::VectorScan, sessions);
  }
}

// Requirements that no agent can hold, each different.
void fails(benchmark::State& state) {
  Cluster cluster(static_cast<std::size_t>(state.range(0)),
                  static_cast<std::size_t>(state.range(1)), false);
  warm_up(cluster, Policy::Concentrated);
  Requirement requirement = cluster.next().requirements.front();
  requirement.slots[kDevices].units = 0;
  std::int64_t more = 0;
  for (auto _ : state) {
    requirement.slots[kCores].units = 60'000 + ++more % 1000;
    requirement.slots[kMemory].units = 900 * kGiB + more;
    benchmark::DoNotOptimize(cluster.find(requirement, Policy::Concentrated, Way::Index));
  }
}

// All or nothing on 64 agents' worth of kernels, then rolled back.
void gang(benchmark::State& state, Policy policy) {
  Cluster cluster(static_cast<std::size_t>(state.range(0)),
                  static_cast<std::size_t>(state.range(1)), false);
  warm_up(cluster, policy);
  Session session;
  while (session.requirements.size() < 64) {
    const Session& other = cluster.next();
    if (other.kernels == 1) session.requirements.push_back(other.requirements.front());
  }
  std::vector<double> times;
  for (auto _ : state) {
    const auto begin = Clock::now();
    if (cluster.place(session, policy, Way::Index)) cluster.release(session, cluster.chosen());
    times.push_back(nanoseconds_since(begin));
  }
  std::ranges::sort(times);
  state.counters["p50_us"] = times[times.size() / 2] / 1000;
  state.counters["p99_us"] = times[times.size() * 99 / 100] / 1000;
}

void sizes(benchmark::internal::Benchmark* b) {
  for (const int agents : {1'000, 10'000, 100'000}) b->Args({agents, 8});
  for (const int slots : {4, 16}) b->Args({10'000, slots});
  b->ArgNames({"agents", "slots"})->Iterations(12)->Unit(benchmark::kMicrosecond);
}
void scarce_sizes(benchmark::internal::Benchmark* b) {
  for (const int agents : {1'000, 10'000, 100'000}) b->Args({agents, 8});
  for (const int slots : {4, 16}) b->Args({10'000, slots});
  b->ArgNames({"agents", "slots"})->Iterations(6);
  b->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(place, concentrated, Policy::Concentrated, false)->Apply(sizes);
BENCHMARK_CAPTURE(place, dispersed, Policy::Dispersed, false)->Apply(sizes);
BENCHMARK_CAPTURE(place, first_fit, Policy::FirstFit, false)->Apply(sizes);
BENCHMARK_CAPTURE(place, concentrated_scarce, Policy::Concentrated, true)->Apply(scarce_sizes);
BENCHMARK_CAPTURE(place, dispersed_scarce, Policy::Dispersed, true)->Apply(scarce_sizes);
BENCHMARK(fails)->Args({10'000, 8})->Args({100'000, 8})->ArgNames({"agents", "slots"});
BENCHMARK_CAPTURE(gang, concentrated, Policy::Concentrated)
    ->Args({10'000, 8})
    ->ArgNames({"agents", "slots"})
    ->Iterations(100)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(gang, dispersed, Policy::Dispersed)
    ->Args({10'000, 8})
    ->ArgNames({"agents", "slots"})
    ->Iterations(100)
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
