// How fast selectors that rate agents choose for requests that are never alike: search, take and
// release on agents that are 85-88 % loaded, by the planner's way and by rating every agent that
// fits.
//
// 60 % of the agents have 64 cores and 256 GiB, 30 % 128 cores, 1 TiB and 8 devices, 10 % 96 cores,
// 512 GiB and 4 devices; 30 % of the requests want whole devices or part of one. No amount is
// rounded. Agents are filled at random; then requests come, and the oldest leave while more than
// 88 % of the cores are taken.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <array>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "model/changeset.hpp"
#include "sched/ledger.hpp"
#include "sched/mirror.hpp"
#include "sched/score_cache.hpp"
#include "sched/view_source.hpp"

namespace {

using namespace bai;
using namespace bai::sched;

constexpr std::uint32_t kNoLimit = 0xffff'ffff;
constexpr std::int64_t kGiB = std::int64_t{1} << 30;

// What the fragmentation policies take for the usual requests.
Json workload() {
  Json kinds = Json::array();
  const auto add = [&](std::int64_t count, const char* cpu, std::int64_t devices,
                       const char* device) {
    kinds.push_back(
        Json::object({{"count", count}, {"cpu", cpu}, {"devices", devices}, {"device", device}}));
  };
  add(700, "4", 0, "0");
  for (const char* part : {"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"}) {
    add(8, "2", 1, part);
    add(8, "6", 1, part);
  }
  add(40, "2", 1, "1");
  add(40, "7", 1, "1");
  add(30, "4", 2, "1");
  add(5, "8", 4, "1");
  add(2, "8", 8, "1");
  return kinds;
}

std::unique_ptr<const Selector> selector_named(const std::string& name) {
  PolicyRegistry registry;
  if (!add_builtin_policies(registry)) std::abort();
  Json options = Json::object();
  if (name.starts_with("fgd")) options.set("workload", workload());
  auto made = registry.make_selector(name, options);
  if (!made) throw std::runtime_error(made.error().message);
  return std::move(*made);
}

class Cluster {
 public:
  Cluster(std::int64_t agents, const std::string& selector)
      : selector_(selector_named(selector)),
        rating_(dynamic_cast<const ScoreSelector&>(*selector_)) {
    ResourceGroup group;
    group.name = ResourceGroupName("default");
    feed(group);
    for (std::int64_t i = 0; i < agents; ++i) feed(agent(i));
    mirror_.feed({1}, changes_);
    group_ = &mirror_.group(mirror_.groups().at(group.name));
    ledger_ = std::make_unique<Ledger>(mirror_);
    source_ = std::make_unique<ViewSource>(ViewSource{mirror_, *group_, *ledger_, {}, 1});
    const SchedView view(*source_);
    cores_slot_ = *view.find_slot("cpu");
    devices_slot_ = *view.find_slot("cuda.shares");
    memory_slot_ = *view.find_slot("mem");
    rater_ = rating_.rater(view);
    fill();
  }

  std::optional<AgentIndex> find(const Requirement& requirement, bool by_rating_all) {
    const SchedView view(*source_);
    if (!by_rating_all) return cache_.highest(view, rating_, table(), requirement, kNoLimit);
    std::array<std::uint8_t, kBlock> match{};
    std::optional<AgentIndex> best;
    std::int64_t highest = 0;
    for (std::size_t first = 0; first < table().size(); first += kBlock) {
      const std::size_t count = std::min(kBlock, table().size() - first);
      table().match(static_cast<AgentIndex>(first), count, requirement, kNoLimit, match.data());
      for (std::size_t i = 0; i < count; ++i) {
        if (match[i] == 0) continue;
        const auto at = static_cast<AgentIndex>(first + i);
        const std::int64_t score = rater_->score(view, requirement, at);
        if (best && score <= highest) continue;
        best = at;
        highest = score;
      }
    }
    return best;
  }

  // One request comes, and those leave that must make way.
  bool step(bool by_rating_all) {
    Requirement requirement = draw();
    const auto found = find(requirement, by_rating_all);
    if (found) take(*found, std::move(requirement));
    if (!found && !running_.empty()) end_oldest();
    while (taken_ * 100 > cores_ * 88) end_oldest();
    return found.has_value();
  }
  // Both ways choose the same.
  bool agrees() {
    const Requirement requirement = draw();
    return find(requirement, true) == find(requirement, false);
  }
  std::uint64_t looked_at() const { return cache_.looked_at(); }

 private:
  static constexpr std::size_t kBlock = 256;
  struct Running {
    AgentIndex at;
    Requirement requirement;
    std::vector<DeviceGrant> devices;
  };

  AgentTable& table() { return group_->agents; }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }
  template <class E>
  void feed(E row) {
    changes_.push_back(
        {EntityTraits<E>::kind, nullptr, std::make_shared<const E>(std::move(row)), false});
  }
  Agent agent(std::int64_t i) {
    const std::int64_t kind = i * 7 % 10;
    const std::int64_t devices = kind < 6 ? 0 : kind < 9 ? 8 : 4;
    const std::int64_t cores = kind < 6 ? 64 : kind < 9 ? 128 : 96;
    const std::int64_t memory = kind < 6 ? 256 : kind < 9 ? 1024 : 512;
    Agent row;
    row.id = AgentId(fmt::format("agent-{:06}", i));
    row.resource_group = ResourceGroupName("default");
    row.architecture = "x86_64";
    row.available_slots.set("cpu", Amount{cores * 1000});
    row.available_slots.set("mem", Amount{memory * kGiB});
    if (devices > 0) row.available_slots.set("cuda.shares", Amount{devices * 1000});
    cores_ += cores * 1000;
    return row;
  }
  Requirement draw() {
    Requirement r;
    r.slots.push_back({cores_slot_, between(500, 8000)});
    if (random_() % 10 < 3) {
      const bool part = random_() % 2 == 0;
      r.slots.push_back({devices_slot_, part                 ? between(100, 999)
                                        : random_() % 10 < 6 ? 1000
                                                             : 2000});
    }
    r.slots.push_back({memory_slot_, between(kGiB / 2, 24 * kGiB)});
    return r;
  }
  void take(AgentIndex at, Requirement requirement) {
    const SchedView view(*source_);
    const auto pick = [&](SlotIndex slot, std::int64_t units, std::span<const std::int64_t> free) {
      PendingSession session;
      Demand demand{session, requirement};
      demand.rater = rater_.get();
      return rating_.device(view, demand, at, slot, units, free);
    };
    auto devices = choose_devices(table(), at, requirement, pick);
    if (!devices) std::abort();
    running_.push_back({at, std::move(requirement), std::move(*devices)});
    change(running_.back(), 1);
  }
  void end_oldest() {
    change(running_.front(), -1);
    running_.pop_front();
  }
  void change(const Running& one, int sign) {
    table().take(one.at, one.requirement, sign);
    table().take_devices(one.at, one.devices, sign);
    for (const SlotRequest& r : one.requirement.slots) {
      if (r.slot == cores_slot_) taken_ += sign * r.units;
    }
  }
  void fill() {
    while (taken_ * 100 < cores_ * 85) {
      Requirement requirement = draw();
      const auto at = static_cast<AgentIndex>(random_() % table().size());
      if (table().fits(at, requirement)) take(at, std::move(requirement));
    }
  }

  std::mt19937_64 random_{42};
  std::unique_ptr<const Selector> selector_;
  const ScoreSelector& rating_;
  std::vector<Change> changes_;
  Mirror mirror_;
  Group* group_ = nullptr;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<ViewSource> source_;
  SlotIndex cores_slot_ = 0, devices_slot_ = 0, memory_slot_ = 0;
  ScoreCache cache_;
  std::unique_ptr<const Rater> rater_;
  std::deque<Running> running_;
  std::int64_t cores_ = 0, taken_ = 0;
};

void place(benchmark::State& state, const char* selector, bool by_rating_all) {
  Cluster cluster(state.range(0), selector);
  for (int i = 0; i < (by_rating_all ? 20 : 2000); ++i) cluster.step(by_rating_all);
  std::size_t placed = 0, asked = 0;
  const std::uint64_t before = cluster.looked_at();
  for (auto _ : state) {
    placed += cluster.step(by_rating_all) ? 1 : 0;
    ++asked;
  }
  state.counters["placed"] = static_cast<double>(placed) / static_cast<double>(asked);
  if (by_rating_all) return;
  state.counters["looked_at"] =
      static_cast<double>(cluster.looked_at() - before) / static_cast<double>(asked);
  for (int i = 0; i < 50; ++i) {
    if (!cluster.agrees()) return state.SkipWithError("it chose another agent");
  }
}

void add_rows() {
  for (const char* selector : {"bestfit", "bestfitx", "worstfit", "worstfitx", "dotprod",
                               "gpupacking", "gpuclustering", "fgd", "fgdx"}) {
    for (const bool all : {false, true}) {
      benchmark::RegisterBenchmark(
          fmt::format("place/{}/{}", selector, all ? "all_rated" : "bounded").c_str(),
          [=](benchmark::State& state) { place(state, selector, all); })
          ->Arg(1'000)
          ->Arg(10'000)
          ->Arg(100'000)
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  add_rows();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
