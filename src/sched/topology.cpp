#include "sched/topology.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "sched/agent_log.hpp"

namespace bai::sched {

namespace {

// Past this many moves it is faster to look at all agents.
constexpr std::size_t kMovesMax = 64;

std::ptrdiff_t place_in(const std::vector<AgentIndex>& agents, AgentIndex agent) {
  return std::ranges::lower_bound(agents, agent) - agents.begin();
}

}  // namespace

void Topology::follow(const AgentTable& agents, const std::vector<std::string>& levels) {
  if (labels_version_ == agents.labels_version() && labels_ == levels) return;
  if (labels_ != levels || !follow_moves(agents)) {
    labels_ = levels;
    build(agents);
  }
  labels_version_ = agents.labels_version();
  log_epoch_ = agents.log_epoch();
  followed_ = agents.moves().size();
  ++version_;
}

// False: there are too many, or they are not known.
bool Topology::follow_moves(const AgentTable& agents) {
  if (log_epoch_ != agents.log_epoch()) return false;
  const auto moves = std::span(agents.moves()).subspan(followed_);
  if (moves.size() > kMovesMax) return false;
  AgentLog moved;  // those whose labels may be others
  for (const auto& [before, at, what] : moves) {
    if (what == AgentMove::What::Came) {
      renumber(at, 1);
      moved.came(at);
    } else {
      for (Level& level : levels_) leave(level, at);
    }
    if (what == AgentMove::What::Left) {
      renumber(at + 1, -1);
      moved.left(at);
    } else {
      moved.note(at);
    }
  }
  for (const AgentIndex agent : moved.agents()) {
    if (agent == AgentLog::kGone) continue;
    for (std::size_t at = 0; at < levels_.size(); ++at) {
      leave(levels_[at], agent);  // it may be there twice
      enter(levels_[at], agent, name_of(agents, at, agent));
    }
  }
  return true;
}

// All from `from` on: `by` 1 leaves a gap there, -1 closes the one before.
void Topology::renumber(AgentIndex from, int by) {
  for (Level& level : levels_) {
    for (Domain& domain : level.domains) {
      const auto behind = domain.agents.begin() + place_in(domain.agents, from);
      for (auto agent = behind; agent != domain.agents.end(); ++agent) {
        *agent = by > 0 ? *agent + 1 : *agent - 1;
      }
    }
    if (by > 0) {
      level.of.insert(level.of.begin() + static_cast<std::ptrdiff_t>(from), kNoDomain);
    } else {
      level.of.erase(level.of.begin() + static_cast<std::ptrdiff_t>(from) - 1);
    }
  }
}

void Topology::leave(Level& level, AgentIndex agent) {
  const std::uint32_t left = std::exchange(level.of[agent], kNoDomain);
  if (left == kNoDomain) return;
  std::vector<AgentIndex>& agents = level.domains[left].agents;
  agents.erase(agents.begin() + place_in(agents, agent));
  if (!agents.empty()) return;
  level.domains.erase(level.domains.begin() + static_cast<std::ptrdiff_t>(left));
  for (std::uint32_t& domain : level.of) {
    if (domain != kNoDomain && domain > left) --domain;
  }
}

void Topology::enter(Level& level, AgentIndex agent, std::string name) {
  if (name.empty()) return;
  const auto found = std::ranges::lower_bound(level.domains, name, {}, &Domain::name);
  const auto at = static_cast<std::uint32_t>(found - level.domains.begin());
  if (found == level.domains.end() || found->name != name) {
    level.domains.insert(found, {std::move(name), {}});
    for (std::uint32_t& domain : level.of) {
      if (domain != kNoDomain && domain >= at) ++domain;
    }
  }
  std::vector<AgentIndex>& agents = level.domains[at].agents;
  agents.insert(agents.begin() + place_in(agents, agent), agent);
  level.of[agent] = at;
}

// From the largest level down; empty: in no domain.
std::string Topology::name_of(const AgentTable& agents, std::size_t level, AgentIndex agent) const {
  std::string name;
  if (agents.label(agent, labels_[level]).empty()) return name;
  for (std::size_t outer = labels_.size(); outer-- > level;) {
    if (!name.empty()) name += '/';
    name += agents.label(agent, labels_[outer]);
  }
  return name;
}

void Topology::build(const AgentTable& agents) {
  levels_.assign(labels_.size(), {});
  for (std::size_t at = 0; at < labels_.size(); ++at) {
    Level& level = levels_[at];
    std::map<std::string, std::vector<AgentIndex>> found;
    for (AgentIndex a = 0; a < agents.size(); ++a) {
      std::string name = name_of(agents, at, a);
      if (!name.empty()) found[std::move(name)].push_back(a);
    }
    level.of.assign(agents.size(), kNoDomain);
    for (auto& [name, members] : found) {
      for (const AgentIndex a : members)
        level.of[a] = static_cast<std::uint32_t>(level.domains.size());
      level.domains.push_back({name, std::move(members)});
    }
  }
}

}  // namespace bai::sched
