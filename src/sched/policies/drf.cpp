// Dominant resource fairness: within a priority band the user goes first whose largest share of any
// slot of the resource group is smallest.
#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include "sched/agent_table.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

struct Share {  // held / capacity
  std::int64_t held = 0, capacity = 1;
  friend bool operator<(const Share& a, const Share& b) {
    return Int128{a.held} * b.capacity < Int128{b.held} * a.capacity;
  }
};

Share dominant_share(const SchedView& view, const Holding& holding) {
  Share largest;
  for (SlotIndex slot = 0; slot < holding.units.size(); ++slot) {
    const std::int64_t capacity = view.group_capacity(slot);
    if (capacity <= 0 || holding.units[slot] <= 0) continue;
    largest = std::max(largest, Share{holding.units[slot], capacity});
  }
  return largest;
}

class DrfOrder final : public Ordering {
 public:
  DrfOrder(const SchedView& view, bool live) : view_(view), live_(live), bands_(view.bands()) {}

  std::optional<PendingIndex> next() override {
    while (heads_.empty()) {
      if (band_ == bands_.size()) return std::nullopt;
      enter(view_.band(bands_[band_++]));
    }
    Head head = heads_.extract(heads_.begin()).value();
    Queue& queue = *head.queue;
    const PendingIndex session = queue.sessions.front().second;
    queue.sessions.pop_front();
    last_ = &queue;
    if (!queue.sessions.empty()) push(queue);
    return session;
  }

  void placed(PendingIndex session) override {
    if (!live_ || last_ == nullptr) return;
    Queue& queue = *last_;
    if (!queue.sessions.empty())
      heads_.erase(Head{queue.share, queue.sessions.front().first, &queue});
    queue.share = share_of(session);
    if (!queue.sessions.empty()) push(queue);
  }

 private:
  struct Queue {  // one user's sessions of the band, with their places in it
    std::deque<std::pair<std::size_t, PendingIndex>> sessions;
    Share share;
  };
  struct Head {
    Share share;
    std::size_t place;  // of the user's first session: equal shares go by age
    Queue* queue;
    friend bool operator<(const Head& a, const Head& b) {
      if (a.share < b.share) return true;
      if (b.share < a.share) return false;
      return a.place < b.place;
    }
  };

  Share share_of(PendingIndex session) const {
    return dominant_share(view_, view_.holding(ScopeKind::User, view_.session(session)));
  }
  void push(Queue& queue) { heads_.insert({queue.share, queue.sessions.front().first, &queue}); }

  void enter(const std::vector<PendingIndex>& band) {
    users_.clear();
    last_ = nullptr;
    for (std::size_t place = 0; place < band.size(); ++place) {
      const UserId& user = view_.owner(view_.session(band[place])).user;
      const auto [it, is_new] = users_.try_emplace(user);
      if (is_new) it->second.share = share_of(band[place]);
      it->second.sessions.emplace_back(place, band[place]);
    }
    for (auto& [user, queue] : users_) push(queue);
  }

  const SchedView& view_;
  bool live_;
  std::vector<std::int32_t> bands_;
  std::size_t band_ = 0;
  std::map<UserId, Queue> users_;
  std::set<Head> heads_;
  Queue* last_ = nullptr;  // whose session was drawn last
};

class Drf final : public Sequencer {
 public:
  explicit Drf(bool live) : live_(live) {}
  std::unique_ptr<Ordering> start(const SchedView& view) const override {
    return std::make_unique<DrfOrder>(view, live_);
  }

 private:
  bool live_;
};

}  // namespace

// "shares": "live" counts what this pass has placed, "per-pass" fixes them at its start (as the
// reference system does).
std::unique_ptr<const Sequencer> make_drf(PolicyOptions& options) {
  return std::make_unique<Drf>(options.choice("shares", {"live", "per-pass"}, "live") == "live");
}

}  // namespace bai::sched
