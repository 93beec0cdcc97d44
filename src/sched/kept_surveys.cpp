#include "sched/kept_surveys.hpp"

#include <algorithm>

#include "sched/requirement_key.hpp"

namespace bai::sched {

KeptSurvey::Lack KeptSurvey::lack_of(const Verdict& verdict) {
  return {static_cast<std::int64_t>(verdict.total), verdict.containers};
}

std::uint32_t KeptSurvey::class_of(const Verdict& verdict) {
  if (verdict.kind == Verdict::Kind::Room) return kRoom;
  const auto [it, is_new] =
      numbers_.try_emplace(verdict.which, static_cast<std::uint32_t>(classes_.size()));
  if (is_new) {
    classes_.push_back({verdict.which, verdict.kind != Verdict::Kind::Incompatible, 0});
  }
  return it->second;
}

void KeptSurvey::assign(const AgentTable& agents, const Examiner& examiner) {
  classes_.assign(2, {});  // kAway and kRoom
  classes_[kRoom].is_compatible = true;
  numbers_.clear();
  class_.assign(agents.size(), kAway);
  lacks_.assign(agents.size(), kNowhere);
  for (AgentIndex a = 0; a < agents.size(); ++a) {
    if (!agents.takes_sessions(a)) continue;
    const Verdict verdict = examiner.look_at(a);
    class_[a] = class_of(verdict);
    ++classes_[class_[a]].agents;
    if (verdict.kind != Verdict::Kind::Incompatible) lacks_.put(a, lack_of(verdict));
  }
  lacks_.settle();
  large_.reset();
  large_left_ = true;
}

void KeptSurvey::look_at(const AgentTable& agents, const Examiner& examiner, AgentIndex agent) {
  std::uint32_t number = kAway;
  Lack lack = kNowhere;
  if (agents.takes_sessions(agent)) {
    const Verdict verdict = examiner.look_at(agent);
    number = class_of(verdict);
    if (verdict.kind != Verdict::Kind::Incompatible) lack = lack_of(verdict);
  }
  if (number != class_[agent]) {
    --classes_[class_[agent]].agents;
    ++classes_[number].agents;
    class_[agent] = number;
  }
  lacks_.set(agent, lack);
  if (large_ && *large_ != agent) return;
  const bool is_large = lack != kNowhere && examiner.is_large_enough(agent);
  large_left_ = large_left_ || (large_ && !is_large);
  large_ = is_large ? std::optional(agent) : std::nullopt;
}

bool KeptSurvey::has_large(const AgentTable& agents, const Examiner& examiner) {
  for (AgentIndex a = 0; a < agents.size() && large_left_ && !large_; ++a) {
    if (classes_[class_[a]].is_compatible && examiner.is_large_enough(a)) large_ = a;
  }
  large_left_ = false;
  return large_.has_value();
}

Survey KeptSurvey::told(const AgentFilter& filter, Rejection otherwise) const {
  Survey survey;
  for (std::size_t number = kAway + 1; number < classes_.size(); ++number) {
    const Class& one = classes_[number];
    survey.agents += one.agents;
    if (one.is_compatible) survey.compatible += one.agents;
    if (number != kRoom && one.agents > 0) survey.tallies[one.which] = one.agents;
  }
  const auto barred = static_cast<std::size_t>(
      std::ranges::count_if(filter.barred, [&](AgentIndex a) { return class_[a] == kRoom; }));
  if (barred > 0) survey.tallies[{Rejection::Reserved, 0}] += barred;
  const std::size_t free = classes_[kRoom].agents - barred;
  if (free > 0) survey.tallies[{otherwise, 0}] += free;
  survey.amounts_free = lacks_places_only(survey);
  if (survey.compatible == 0) return survey;
  const auto [total, containers] = lacks_[1];
  survey.closest = static_cast<AgentIndex>(lacks_.first_least());
  survey.closest_total = total;
  survey.closest_containers = containers;
  return survey;
}

// Those that no pass has asked for lately.
void KeptSurveys::forget_old() {
  std::erase_if(known_, [&](const auto& one) {
    const KeptSurvey& kept = one.second;
    if (kept.pass_ + 1 >= pass_) return false;
    agents_ -= kept.class_.size();
    return true;
  });
}

void KeptSurveys::follow(const AgentTable& agents, const Examiner& examiner, KeptSurvey& kept) {
  const auto& changed = agents.changed();
  seen_.resize(agents.size(), 0);
  ++calls_;
  for (std::size_t i = kept.followed_; i < changed.size(); ++i) {
    if (std::exchange(seen_[changed[i]], calls_) == calls_) continue;
    kept.look_at(agents, examiner, changed[i]);
  }
}

Survey KeptSurveys::survey(const ViewSource& source, const Requirement& requirement,
                           const AgentFilter& filter, Rejection otherwise) {
  const AgentTable& agents = source.group.agents;
  const Examiner examiner(source, requirement, filter.container_limit);
  if (filter.may_exclude() || examiner.most_total() >= KeptSurvey::kNowhere.first) {
    return survey_agents(source, requirement, filter, otherwise);
  }
  if (std::exchange(epoch_, agents.epoch()) != agents.epoch()) {
    known_.clear();
    agents_ = 0;
  }
  const LabelRule& labels = source.mirror.label_rule(requirement.labels);
  const std::uint64_t key = content_hash(requirement, labels);
  const auto it = known_.find(key);
  if (it == known_.end()) {
    if (known_.size() >= kRequirementsMax) forget_old();
    if (known_.size() < kRequirementsMax) known_.try_emplace(key).first->second.pass_ = pass_;
    return survey_agents(source, requirement, filter, otherwise);
  }
  KeptSurvey& kept = it->second;
  kept.pass_ = pass_;
  if (kept.class_.empty()) {
    if (agents_ + agents.size() > agents_max_) forget_old();
    if (agents_ + agents.size() > agents_max_) {
      return survey_agents(source, requirement, filter, otherwise);
    }
    agents_ += agents.size();
  }
  if (kept.class_.empty() || !asks_alike(kept.requirement_, requirement) ||
      kept.labels_ != labels || kept.container_limit_ != filter.container_limit ||
      kept.wanted_ != examiner.wanted() ||
      agents.changed().size() - kept.followed_ > agents.size() / 4) {
    kept.requirement_ = requirement;
    kept.labels_ = labels;
    kept.container_limit_ = filter.container_limit;
    kept.wanted_ = examiner.wanted();
    kept.assign(agents, examiner);
  } else {
    follow(agents, examiner, kept);
  }
  kept.followed_ = agents.changed().size();
  Survey survey = kept.told(filter, otherwise);
  survey.large_enough = kept.has_large(agents, examiner);
  return survey;
}

}  // namespace bai::sched
