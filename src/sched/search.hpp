// Finds the agents that one requirement may go to: by the index where it knows, else by a scan over
// arrays. The index knows nothing of wishes, but these name few agents, which are looked at one by
// one; all others are of one class, or of two where labels are preferred.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sched/agent_filter.hpp"
#include "sched/agent_table.hpp"
#include "sched/fit_sets.hpp"
#include "sched/index/placement_index.hpp"
#include "sched/score_cache.hpp"

namespace bai::sched {

class AgentSearch {
 public:
  // Everything outlives the search. `buffer` is working space that is kept between searches.
  // `index` follows the agents; null: every question is a scan. `fits` keeps what is
  // counted, `labels` is the requirement's rule.
  AgentSearch(const AgentTable& agents, const Requirement& requirement, const AgentFilter& filter,
              std::vector<AgentIndex>& buffer, ScoreCache& scores, PlacementIndex* index = nullptr,
              FitSets* fits = nullptr, const LabelRule* labels = nullptr);

  bool empty();
  std::span<const AgentIndex> list();
  std::size_t count();
  AgentIndex at(std::size_t place);  // of list()
  std::optional<AgentIndex> best(std::span<const KeyPart> key);
  std::optional<AgentIndex> highest(const SchedView& view, const ScoreSelector& selector);
  bool contains(AgentIndex agent);
  // Agents that it has looked at one by one, without those that the index has.
  std::size_t looked_at() const noexcept { return looked_at_; }

 private:
  void scan();
  void scan_all();
  void scan_those(std::span<const AgentIndex> agents, std::vector<AgentIndex>& found);
  void narrow(std::vector<AgentIndex>& found) const;
  bool asks_index() const noexcept;
  void look_at_named();
  // Whether no other agent, of that class at best, can be as good as the best of the named ones.
  bool named_come_before(const AgentClass& others) const noexcept;
  // The best of the best class. `ask`(test, labels) finds it among the agents that pass the test
  // and, unless null, have the labels; `best_of`(agents) among those of one class.
  template <class Ask, class BestOf>
  std::optional<AgentIndex> choose(const Ask& ask, const BestOf& best_of);
  // All that fit: without `refused_` they are the candidates; null: that is not all there is to it.
  const FitSet* fitting();
  bool fits(AgentIndex agent) const noexcept;
  bool may_take(AgentIndex agent) const noexcept;  // what the index does not know of
  bool is_plain(AgentIndex agent) const noexcept;  // may be taken, and no wish names it

  const AgentTable& agents_;
  const Requirement& requirement_;
  const AgentFilter& filter_;
  std::vector<AgentIndex>& found_;
  ScoreCache& scores_;
  PlacementIndex* index_;
  FitSets* fits_;
  const LabelRule* labels_;
  bool scanned_ = false, looked_at_named_ = false;
  std::size_t looked_at_ = 0;
  std::vector<AgentIndex> named_;          // by wishes; where the index is asked
  std::vector<AgentIndex> best_named_;     // of those that may be taken and fit, the best class
  std::optional<AgentClass> named_class_;  // that is the class
  std::optional<AgentClass> best_class_;   // of all, once it is known
  std::vector<AgentIndex> refused_;        // ordered; of those that fit
};

}  // namespace bai::sched
