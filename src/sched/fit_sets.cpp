#include "sched/fit_sets.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "sched/requirement_key.hpp"

namespace bai::sched {

std::size_t FitSet::before(AgentIndex agent) const noexcept {
  const std::size_t word = agent / kBits;
  const std::uint64_t below = words_[word] & ((std::uint64_t{1} << agent % kBits) - 1);
  auto count = static_cast<std::size_t>(std::popcount(below));
  for (std::size_t node = word; node > 0; node &= node - 1) count += counts_[node];
  return count;
}

AgentIndex FitSet::at(std::size_t place) const noexcept {
  std::size_t word = 0;
  for (std::size_t step = std::bit_floor(words_.size()); step > 0; step /= 2) {
    if (word + step < counts_.size() && counts_[word + step] <= place) {
      word += step;
      place -= counts_[word];
    }
  }
  std::uint64_t bits = words_[word];
  for (; place > 0; --place) bits &= bits - 1;
  return static_cast<AgentIndex>(word * kBits + static_cast<std::size_t>(std::countr_zero(bits)));
}

void FitSet::assign(std::size_t count) {
  words_.assign((count + kBits - 1) / kBits, 0);
  counts_.assign(words_.size() + 1, 0);
  size_ = 0;
}

void FitSet::count_all() noexcept {
  size_ = 0;
  for (std::size_t i = 0; i < words_.size(); ++i) {
    const auto bits = static_cast<std::uint32_t>(std::popcount(words_[i]));
    counts_[i + 1] = bits;
    size_ += bits;
  }
  for (std::size_t node = 1; node < counts_.size(); ++node) {
    const std::size_t above = node + (node & -node);
    if (above < counts_.size()) counts_[above] += counts_[node];
  }
}

void FitSet::set(AgentIndex agent, bool fits) noexcept {
  if (has(agent) == fits) return;
  words_[agent / kBits] ^= std::uint64_t{1} << agent % kBits;
  size_ = fits ? size_ + 1 : size_ - 1;
  for (std::size_t node = agent / kBits + 1; node < counts_.size(); node += node & -node) {
    counts_[node] = fits ? counts_[node] + 1 : counts_[node] - 1;
  }
}

// At every agent.
void FitSets::look(FitSet& set, const AgentTable& agents) const {
  std::array<std::uint8_t, FitSet::kBits> match{};
  for (std::size_t word = 0; word < set.words_.size(); ++word) {
    const std::size_t first = word * FitSet::kBits;
    const std::size_t count = std::min(FitSet::kBits, agents.size() - first);
    agents.match(static_cast<AgentIndex>(first), count, set.requirement_, set.container_limit_,
                 match.data());
    for (std::size_t i = 0; i < count; ++i) set.words_[word] |= std::uint64_t{match[i]} << i;
  }
}

const FitSet& FitSets::refreshed(const AgentTable& agents, const Requirement& requirement,
                                 const LabelRule& labels, std::uint32_t container_limit) {
  const std::uint64_t key = content_hash(requirement, labels);
  auto it = known_.find(key);
  if (it == known_.end()) {
    if ((known_.size() + 1) * agents.size() / 8 > kBytesMax) known_.clear();
    it = known_.try_emplace(key).first;
  }
  FitSet& set = it->second;
  const auto& changed = agents.changed();
  if (set.epoch_ != agents.epoch() || set.container_limit_ != container_limit ||
      !asks_alike(set.requirement_, requirement) || set.labels_ != labels ||
      changed.size() - set.followed_ > agents.size()) {
    set.requirement_ = requirement;
    set.labels_ = labels;
    set.container_limit_ = container_limit;
    set.assign(agents.size());
    if (!bitmaps_.find(agents, requirement, labels, container_limit, set.words_)) {
      look(set, agents);
    }
    set.count_all();
  } else {
    // An agent that changed several times is looked at once.
    seen_.resize(agents.size(), 0);
    ++calls_;
    for (std::size_t i = set.followed_; i < changed.size(); ++i) {
      if (std::exchange(seen_[changed[i]], calls_) == calls_) continue;
      std::uint8_t match = 0;
      agents.match(changed[i], 1, requirement, container_limit, &match);
      set.set(changed[i], match != 0);
    }
  }
  set.epoch_ = agents.epoch();
  set.followed_ = changed.size();
  return set;
}

}  // namespace bai::sched
