// Scores that are kept against scores that are made anew.
#include "sched/score_cache.hpp"

#include <random>

#include "sched/ledger.hpp"
#include "sched/policies/policies.hpp"
#include "sched/view_source.hpp"
#include "timeline.hpp"

using namespace bai;
using namespace bai::test;

namespace {

// `pool`: it looks at a slot whose devices nobody lists.
std::unique_ptr<const Selector> selector_named(const std::string& name, bool pool) {
  Json options = Json::object();
  if (name.starts_with("fgd")) {
    options = *Json::parse(R"({"label": "rack", "workload": [
        {"count": 3, "cpu": "1", "devices": 1, "device": "0.5"},
        {"count": 2, "cpu": "2", "devices": 1, "device": "0.3"},
        {"count": 2, "cpu": "5", "devices": 2, "device": "1", "labels": ["r0", "r2"]},
        {"count": 1, "cpu": "9", "devices": 4, "device": "1"},
        {"count": 2, "cpu": "4"}]})");
  }
  if (pool) options.set("device", "pool");
  PolicyOptions read(options);
  if (name == "fgd") return sched::make_fgd(read);
  if (name == "fgdx") return sched::make_fgd_exact(read);
  if (name == "bestfit") return sched::make_best_fit(read);
  if (name == "bestfitx") return sched::make_best_fit_exact(read);
  if (name == "worstfit") return sched::make_worst_fit(read);
  if (name == "worstfitx") return sched::make_worst_fit_exact(read);
  if (name == "dotprod") return sched::make_dot_product(read);
  if (name == "gpuclustering") return sched::make_gpu_clustering(read);
  return sched::make_gpu_packing(read);
}

// Agents with devices and labels that come, go and change; sessions that ask for all of it.
class Cluster {
 public:
  explicit Cluster(std::uint64_t seed) : draw(seed) {
    world.group();
    for (int a = 0; a < 90; ++a) join();
    for (int i = 0; i < 12; ++i) ask();
  }

  void change() {
    for (auto i = draw(0, 2); i > 0; --i) join();
    for (auto i = draw(0, 12); i > 0 && !agents_.empty(); --i) {
      const std::string id =
          agents_[static_cast<std::size_t>(draw(0, static_cast<std::int64_t>(agents_.size()) - 1))];
      const auto what = draw(0, 9);
      if (what == 0) {
        world.changes.erase<Agent>(AgentId(id));
        std::erase(agents_, id);
      } else if (what == 1) {
        world.changes.update<Agent>(AgentId(id), [&](Agent& row) { row.labels = labels(); });
      } else if (what == 2) {
        world.changes.update<Agent>(AgentId(id),
                                    [&](Agent& row) { row.schedulable = !row.schedulable; });
      } else {
        world.hold(id, {{"cpu", std::to_string(draw(1, 2))}});
      }
    }
  }
  // All of the world the first time, then what has changed in it.
  void feed(sched::Mirror& mirror, std::uint64_t round) {
    if (round == 1) world.feed();
    change();
    const auto changes = coalesce(world.changes.take());
    std::vector<Change> rows(changes.begin(), changes.end());
    if (round == 1) {
      rows.clear();
      for (const EntityInfo* info : all_entities()) {
        if (info->residence == Residence::Cold) continue;
        world.state.any_table(info->kind).for_each_row([&](const RowPtr& row) {
          rows.push_back({info->kind, nullptr, row, false});
          return true;
        });
      }
    }
    mirror.feed({round}, rows);
  }

  World world;
  Draw draw;

 private:
  Json labels() { return Json::object({{"rack", "r" + std::to_string(draw(0, 2))}}); }
  void join() {
    const std::string id = "a" + std::to_string(draw(0, 99'999'999));
    if (world.state.find<Agent>(AgentId(id)) != nullptr) return;
    Texts capacity = {{"cpu", std::to_string(draw(4, 64))}, {"mem", "64g"}};
    if (draw(0, 2) > 0) capacity.emplace_back("cuda.shares", std::to_string(draw(1, 8)));
    if (draw(0, 2) > 0) capacity.emplace_back("pool", std::to_string(draw(1, 8)));
    world.agent(id, capacity);
    world.changes.update<Agent>(AgentId(id), [&](Agent& row) { row.labels = labels(); });
    agents_.push_back(id);
  }
  void ask() {
    Session row = world.draft();
    if (draw(0, 2) == 0) row.resource_opts.set("agent_labels", labels());
    Texts amounts = {{"cpu", std::to_string(draw(1, 6))}, {"mem", "1g"}};
    const std::vector<std::string> parts = {"0.2", "0.37", "0.5", "0.9", "1", "1.5", "2", "90"};
    if (draw(0, 1) == 0) {
      amounts.emplace_back(draw(0, 3) == 0 ? "pool" : "cuda.shares",
                           parts[static_cast<std::size_t>(draw(0, 7))]);
    }
    world.add(std::move(row), std::vector<KernelSpec>(draw(0, 3) == 0 ? 2 : 1, {amounts}));
  }

  std::vector<std::string> agents_;
};

}  // namespace

// Whether no agent that fits scores more than the bound of some agents with it among them.
bool bounds_hold(Draw& draw, const sched::Rated& rated, const Requirement& requirement,
                 const sched::Scores& scores) {
  const std::size_t traits = rated.rater.traits();
  std::vector<std::int64_t> row(traits);
  std::vector<std::int64_t> least(traits, std::numeric_limits<std::int64_t>::max()), most(traits);
  std::ranges::fill(most, std::numeric_limits<std::int64_t>::min());
  std::int64_t highest = sched::Scores::kUnfit;
  for (auto i = draw(1, 6); i > 0; --i) {
    const auto agent =
        static_cast<AgentIndex>(draw(0, static_cast<std::int64_t>(rated.agents.size()) - 1));
    rated.rater.describe(rated.view, agent, row);
    for (std::size_t t = 0; t < traits; ++t) {
      least[t] = std::min(least[t], row[t]);
      most[t] = std::max(most[t], row[t]);
    }
    highest = std::max(highest, scores.of(agent));
  }
  return rated.rater.bound(requirement, least, most) >= highest;
}

// With rules that every fifth agent breaks now and then.
struct Whim {
  std::uint64_t step = 0;
  bool operator()(AgentIndex agent) const { return step % 3 != 0 || (agent + step) % 5 != 0; }
};

TEST_CASE("the agent with the highest score is the one of all scores made anew") {
  for (const char* name : {"fgd", "fgdx", "bestfit", "bestfitx", "worstfit", "worstfitx", "dotprod",
                           "gpuclustering", "gpupacking"}) {
    CAPTURE(std::string(name));
    std::size_t compared = 0, found = 0;
    std::uint64_t step_number = 0;
    for (std::uint64_t seed = 1; seed <= 6; ++seed) {
      CAPTURE(seed);
      const auto selector = selector_named(name, seed % 3 == 0);
      const auto* rating = dynamic_cast<const ScoreSelector*>(selector.get());
      REQUIRE(rating != nullptr);
      Cluster cluster(seed);
      sched::Mirror mirror;
      sched::ScoreCache kept, bounded({1, 0, 8'000'000, 1'000'000}), both({1, 0});
      std::unique_ptr<const Rater> rater;
      std::uint64_t settings = 0;
      sched::RatingTree tree;
      for (std::uint64_t round = 1; round <= 25; ++round) {
        CAPTURE(round);
        cluster.feed(mirror, round);
        sched::Group& group = mirror.group(mirror.groups().at(ResourceGroupName("default")));
        sched::AgentTable& agents = group.agents;
        sched::Ledger ledger(mirror);
        const sched::ViewSource source{mirror, group, ledger, at_second(kNow), 7};
        const SchedView view(source);
        const auto sessions = view.band(10);
        REQUIRE(!sessions.empty());
        std::vector<std::size_t> points;  // to go back to
        for (int step = 0; step < 30; ++step) {
          const auto which = static_cast<std::size_t>(
              cluster.draw(0, static_cast<std::int64_t>(sessions.size()) - 1));
          const Requirement& requirement =
              view.request(view.session(sessions[which])).requirements.front();
          agents.prepare_rule(requirement.labels, mirror.label_rule(requirement.labels));
          const auto& scores = kept.refreshed(view, *rating, agents, requirement, 40);
          sched::ScoreCache fresh;
          const auto& anew = fresh.refreshed(view, *rating, agents, requirement, 40);
          for (AgentIndex a = 0; a < agents.size(); ++a) {
            if (scores.of(a) != anew.of(a)) REQUIRE(scores.of(a) == anew.of(a));
            ++compared;
          }
          const Whim may{++step_number};
          std::optional<AgentIndex> best;
          for (AgentIndex a = 0; a < agents.size(); ++a) {
            if (anew.of(a) == sched::Scores::kUnfit || !may(a)) continue;
            if (!best || anew.of(a) > anew.of(*best)) best = a;
          }
          REQUIRE(scores.highest(may) == best);
          REQUIRE(bounded.highest(view, *rating, agents, requirement, 40, may) == best);
          REQUIRE(both.highest(view, *rating, agents, requirement, 40, may) == best);
          if (rater == nullptr || settings != agents.settings_epoch()) {
            rater = rating->rater(view);
            settings = agents.settings_epoch();
            tree.clear();
          }
          const sched::Rated rated{view, *rater, agents};
          if (!tree.is_built(rated)) tree.build(rated);
          REQUIRE(tree.highest(rated, requirement, 40, may) == best);
          REQUIRE(tree.is_sound(rated));
          for (int i = 0; i < 10; ++i) {
            REQUIRE(bounds_hold(cluster.draw, rated, requirement, anew));
          }
          if (cluster.draw(0, 5) == 0 && !points.empty()) {
            ledger.rollback(points[points.size() / 2]);
            points.resize(points.size() / 2);
          }
          if (!best) continue;
          ++found;
          const AgentIndex chosen = cluster.draw(0, 1) == 0
                                        ? *best
                                        : static_cast<AgentIndex>(cluster.draw(
                                              0, static_cast<std::int64_t>(agents.size()) - 1));
          points.push_back(ledger.checkpoint());
          const auto pick = [](SlotIndex, std::int64_t units, std::span<const std::int64_t> free) {
            return sched::tightest_device(units, free);
          };
          ledger.take(agents, chosen, requirement, 40, pick);
        }
      }
    }
    CHECK(compared > 100'000);
    CHECK(found > 1000);
  }
}
