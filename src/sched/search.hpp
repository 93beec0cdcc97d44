// Finds the agents that one requirement may go to: by the index where it knows, else by a scan over
// arrays.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sched/agent_table.hpp"
#include "sched/fit_sets.hpp"
#include "sched/index/placement_index.hpp"
#include "sched/neighbours.hpp"
#include "sched/score_cache.hpp"

namespace bai::sched {

// What a session's wishes and the resource group's limits say about agents.
struct AgentFilter {
  bool strict = false;                 // only `designated`
  std::vector<AgentIndex> designated;  // ordered; preferred unless strict
  std::vector<AgentIndex> failed;      // ordered; taken when nothing else is left
  std::vector<AgentIndex> barred;      // ordered; never taken: it would break a promise
  // Ordered; only these, where there is a list. `is_domain`: because of topology; otherwise because
  // its reservation has enough left there.
  const std::vector<AgentIndex>* within = nullptr;
  bool is_domain = false;
  const LabelRule* preferred_labels = nullptr;
  const Neighbours* neighbours = nullptr;  // of a session in a group
  std::uint32_t container_limit = kNoContainerLimit;

  // For reasons that other sessions with the same request may not have.
  bool excludes(AgentIndex agent) const noexcept {
    return (strict && !std::ranges::binary_search(designated, agent)) ||
           (within != nullptr && !std::ranges::binary_search(*within, agent)) ||
           (neighbours != nullptr && neighbours->excludes(agent));
  }
  bool may_exclude() const noexcept {
    return strict || within != nullptr || (neighbours != nullptr && neighbours->strict);
  }
};

class AgentSearch {
 public:
  // Everything outlives the search. `buffer` is working space that is kept between searches.
  // `index` follows the agents; null: every question is a scan. `fits` keeps what is
  // counted, `labels` is the requirement's rule.
  AgentSearch(const AgentTable& agents, const Requirement& requirement, const AgentFilter& filter,
              std::vector<AgentIndex>& buffer, ScoreCache& scores, PlacementIndex* index = nullptr,
              FitSets* fits = nullptr, const LabelRule* labels = nullptr)
      : agents_(agents),
        requirement_(requirement),
        filter_(filter),
        found_(buffer),
        scores_(scores),
        index_(index),
        fits_(fits),
        labels_(labels) {
    if (index_ != nullptr) index_->follow(agents_);
  }

  bool empty();
  std::span<const AgentIndex> list();
  std::size_t count();
  AgentIndex at(std::size_t place);  // of list()
  std::optional<AgentIndex> best(std::span<const KeyPart> key);
  std::optional<AgentIndex> highest(const SchedView& view, const ScoreSelector& selector);
  bool contains(AgentIndex agent);
  // Agents that it has looked at one by one, without those that the index has.
  std::size_t looked_at() const noexcept {
    if (!scanned_) return 0;
    if (filter_.strict) return filter_.designated.size();
    return filter_.within != nullptr ? filter_.within->size() : agents_.size();
  }

 private:
  void scan();
  void scan_all();
  void scan_those(const std::vector<AgentIndex>& agents);
  void narrow();
  bool asks_index() const noexcept;
  // All that fit, whatever may_take() says; null: that is not all there is to it.
  const FitSet* fitting();
  bool may_take(AgentIndex agent) const noexcept;  // what the index does not know of
  bool has_wishes() const noexcept;  // that make some agents better than others, or forbid some

  const AgentTable& agents_;
  const Requirement& requirement_;
  const AgentFilter& filter_;
  std::vector<AgentIndex>& found_;
  ScoreCache& scores_;
  PlacementIndex* index_;
  FitSets* fits_;
  const LabelRule* labels_;
  bool scanned_ = false;
};

}  // namespace bai::sched
