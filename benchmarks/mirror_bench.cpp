// What the planner's mirror keeps in memory: the growth of the process while rows of agents and of
// pending one-kernel sessions are fed and given back at once, so that the rows are not counted.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "model/changeset.hpp"
#include "sched/mirror.hpp"

namespace {

using namespace bai;

constexpr std::int64_t kGiB = std::int64_t{1} << 30;
constexpr std::int64_t kUsers = 1000;
constexpr std::int64_t kFedAtOnce = 1000;  // rows: what a busy manager's turn brings

// Resident now, without what the allocator has only kept for later.
double resident_bytes() {
  malloc_trim(0);
  long pages = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

// As minted: ordered by time, random behind that.
template <class Id>
Id numbered(std::uint64_t number) {
  Id id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.bytes[7 - i] = static_cast<std::uint8_t>(number >> (8 * i));
    id.bytes[15 - i] = static_cast<std::uint8_t>(number * 0x9e3779b97f4a7c15ULL >> (8 * i));
  }
  return id;
}

class Feeder {
 public:
  explicit Feeder(sched::Mirror& mirror) : mirror_(mirror) {
    ResourceGroup group;
    group.name = ResourceGroupName("default");
    group.queue_discipline = QueueDiscipline::SkipAhead;
    add(group);
    flush();
  }

  void add_agents(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      Agent row;
      row.id = AgentId(fmt::format("agent-{:06}", i));
      row.resource_group = ResourceGroupName("default");
      row.architecture = "x86_64";
      const std::int64_t kind = i % 10;
      row.available_slots = kind < 6   ? slots(64, 256, 0)
                            : kind < 9 ? slots(128, 1024, 8)
                                       : slots(96, 512, 4);
      add(std::move(row));
    }
    flush();
  }

  void add_sessions(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
      Session row;
      row.id = numbered<SessionId>(++last_id_);
      row.resource_group = ResourceGroupName("default");
      row.created_at = Timestamp{static_cast<std::int64_t>(last_id_)};
      const std::uint64_t user = random_() % static_cast<std::uint64_t>(kUsers);
      row.user = numbered<UserId>(user);
      row.access_key = AccessKey(fmt::format("AKIA{:016}", user));
      Kernel kernel;
      kernel.id = numbered<KernelId>(++last_id_);
      kernel.session = row.id;
      kernel.architecture = "x86_64";
      const bool devices = random_() % 10 < 3;
      kernel.requested_slots = slots(std::int64_t{1} << (random_() % 4),
                                     4 * (1 + static_cast<std::int64_t>(random_() % 8)),
                                     devices ? std::int64_t{1} << (random_() % 3) : 0);
      add(std::move(row));
      add(std::move(kernel));
    }
    flush();
  }

 private:
  static SlotMap slots(std::int64_t cores, std::int64_t gib, std::int64_t devices) {
    SlotMap map{{"cpu", Amount{cores * 1000}}, {"mem", Amount{gib * kGiB}}};
    if (devices > 0) map.set("cuda.device", Amount{devices * 1000});
    return map;
  }
  template <class E>
  void add(E row) {
    changes_.push_back(
        {EntityTraits<E>::kind, nullptr, std::make_shared<const E>(std::move(row)), false});
    if (static_cast<std::int64_t>(changes_.size()) >= kFedAtOnce) flush();
  }
  void flush() {
    mirror_.feed({++version_}, changes_);
    for (const auto& [name, group] : mirror_.groups()) mirror_.group(group).arrivals.clear();
    changes_.clear();
  }

  sched::Mirror& mirror_;
  std::vector<Change> changes_;
  std::mt19937_64 random_{42};
  std::uint64_t version_ = 0, last_id_ = 0;
};

// Arguments: agents, pending sessions.
void resident(benchmark::State& state) {
  double start = 0, with_agents = 0, with_sessions = 0;
  for (auto _ : state) {
    start = resident_bytes();
    std::optional<sched::Mirror> mirror(std::in_place);
    Feeder feeder(*mirror);
    feeder.add_agents(state.range(0));
    with_agents = resident_bytes();
    feeder.add_sessions(state.range(1));
    with_sessions = resident_bytes();
  }
  state.counters["MB"] = (with_sessions - start) / 1e6;
  if (state.range(0) > 0) {
    state.counters["B/agent"] = (with_agents - start) / static_cast<double>(state.range(0));
  }
  if (state.range(1) > 0) {
    state.counters["B/session"] =
        (with_sessions - with_agents) / static_cast<double>(state.range(1));
  }
}

// The whole first: later ones use again what earlier ones have left behind.
BENCHMARK(resident)
    ->Args({100'000, 1'000'000})
    ->Args({100'000, 100'000})
    ->Args({100'000, 10'000})
    ->Args({10'000, 1'000'000})
    ->Args({1'000, 1'000'000})
    ->ArgNames({"agents", "pending"})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
