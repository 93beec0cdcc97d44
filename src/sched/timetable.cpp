#include "sched/timetable.hpp"

#include <iterator>

namespace bai::sched {

void Timetable::follow(const Group& group, Timestamp now) {
  const AgentTable& agents = group.agents;
  if (settings_ != group.row || epoch_ != agents.epoch() ||
      settings_epoch_ != agents.settings_epoch() || ends_epoch_ != group.ends.epoch()) {
    profiles_.clear();
  } else if (!profiles_.empty()) {
    drop(std::span(agents.changed()).subspan(changes_));
    drop(std::span(group.ends.agents()).subspan(ends_));
    for (auto it = profiles_.begin(); it != profiles_.end();) {
      it = it->second.move_on(now.ns) ? std::next(it) : profiles_.erase(it);
    }
  }
  settings_ = group.row;
  epoch_ = agents.epoch();
  settings_epoch_ = agents.settings_epoch();
  ends_epoch_ = group.ends.epoch();
  changes_ = agents.changed().size();
  ends_ = group.ends.agents().size();
}

void Timetable::drop(std::span<const AgentIndex> agents) {
  for (const AgentIndex agent : agents) profiles_.erase(agent);
}

}  // namespace bai::sched
