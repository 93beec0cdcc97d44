// Surveys that follow the agents that have changed.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/least_tree.hpp"
#include "sched/survey.hpp"

namespace bai::sched {

// Of one requirement: what stands against it on each agent.
class KeptSurvey {
 private:
  friend class KeptSurveys;
  using Which = std::pair<Rejection, std::uint64_t>;
  // What is lacking on an agent, as in Survey::closest; kNowhere: it takes no sessions, or none of
  // this kind.
  using Lack = std::pair<std::int64_t, std::uint32_t>;
  static constexpr Lack kNowhere{std::numeric_limits<std::int64_t>::max(), 0};
  struct Class {
    Which which;
    bool is_compatible = false;
    std::size_t agents = 0;
  };
  static constexpr std::uint32_t kAway = 0, kRoom = 1;  // numbers of classes

  void assign(const AgentTable& agents, const Examiner& examiner);
  void look_at(const AgentTable& agents, const Examiner& examiner, AgentIndex agent);
  std::uint32_t class_of(const Verdict& verdict);
  static Lack lack_of(const Verdict& verdict);
  bool has_large(const AgentTable& agents, const Examiner& examiner);
  Survey told(const AgentFilter& filter, Rejection otherwise) const;

  Requirement requirement_;
  LabelRule labels_;
  std::uint32_t container_limit_ = kNoContainerLimit;
  std::vector<Examiner::Wanted> wanted_;
  std::size_t followed_ = 0;  // of the agents' changes
  std::uint64_t pass_ = 0;    // that asked last
  std::vector<Class> classes_;
  std::map<Which, std::uint32_t> numbers_;
  std::vector<std::uint32_t> class_;  // by agent
  LeastTree<Lack> lacks_;             // by agent
  std::optional<AgentIndex> large_;   // one that could have room, if it were empty
  bool large_left_ = false;           // it was one; there may be others
};

// Belongs to one resource group. What is asked for twice is kept: making what follows the agents
// costs more than a look at them.
class KeptSurveys {
 public:
  // Keeps surveys of so many agents together: the others look at all agents each time.
  explicit KeptSurveys(std::size_t agents_max = 500'000) : agents_max_(agents_max) {}

  void begin_pass() noexcept { ++pass_; }
  // What survey_agents() says.
  Survey survey(const ViewSource& source, const Requirement& requirement, const AgentFilter& filter,
                Rejection otherwise);
  std::size_t agents() const noexcept { return agents_; }  // in all that are kept

 private:
  static constexpr std::size_t kRequirementsMax = 1000;
  void forget_old();
  void follow(const AgentTable& agents, const Examiner& examiner, KeptSurvey& kept);

  std::unordered_map<std::uint64_t, KeptSurvey> known_;  // by content of the requirement
  std::vector<std::uint64_t> seen_;      // by agent: the last call that looked at it
  std::size_t agents_max_, agents_ = 0;  // in all that are kept
  std::uint64_t epoch_ = 0;              // of the agents
  std::uint64_t calls_ = 0, pass_ = 0;
};

}  // namespace bai::sched
