#include <algorithm>
#include <limits>

#include "sched/queue.hpp"
#include "sched/search.hpp"
#include "sched/view_source.hpp"

namespace bai {

namespace {

// The reference system's default; names match exactly, so "cuda" is not "cuda.device".
constexpr std::string_view kDefaultSelectorPriority[] = {"cuda", "rocm", "tpu", "cpu", "mem"};

class SortedBands final : public Ordering {
 public:
  SortedBands(const SchedView& view, const BandSorter& sorter)
      : view_(view), sorter_(sorter), bands_(view.bands()) {}

  std::optional<PendingIndex> next() override {
    while (at_ == sorted_.size()) {
      if (band_ == bands_.size()) return std::nullopt;
      sorted_ = view_.band(bands_[band_++]);
      sorter_.sort(view_, sorted_);
      at_ = 0;
    }
    return sorted_[at_++];
  }

 private:
  const SchedView& view_;
  const BandSorter& sorter_;
  std::vector<std::int32_t> bands_;
  std::vector<PendingIndex> sorted_;
  std::size_t band_ = 0, at_ = 0;
};

// For resource groups whose settings do not ask the mirror to keep that order.
class ByEstimate final : public BandSorter {
 public:
  void sort(const SchedView& view, std::vector<PendingIndex>& band) const override {
    std::ranges::stable_sort(band, {}, [&](PendingIndex at) { return view.session(at).estimate; });
  }
};

}  // namespace

StateVersion SchedView::version() const noexcept { return source_->mirror.version(); }
Timestamp SchedView::now() const noexcept { return source_->now; }
std::uint64_t SchedView::seed() const noexcept { return source_->seed; }
const ResourceGroupName& SchedView::resource_group() const noexcept { return source_->group.name; }

std::size_t SchedView::slot_count() const noexcept { return source_->mirror.slots().size(); }
const std::string& SchedView::slot_name(SlotIndex slot) const noexcept {
  return source_->mirror.slots()[slot];
}
SlotType SchedView::slot_type(SlotIndex slot) const noexcept {
  return source_->mirror.slot_types().type_of(slot_name(slot));
}
std::optional<SlotIndex> SchedView::find_slot(std::string_view name) const noexcept {
  return source_->mirror.slots().find(name);
}

std::vector<SlotIndex> SchedView::selection_order(const Requirement& requirement) const {
  std::vector<SlotIndex> order;
  const auto is_requested = [&](SlotIndex slot) {
    return std::ranges::any_of(requirement.slots,
                               [&](const SlotRequest& r) { return r.slot == slot; });
  };
  const auto listed = [&](SlotIndex slot) { return std::ranges::find(order, slot) != order.end(); };
  const auto add = [&](std::string_view name) {
    const auto slot = find_slot(name);
    if (slot && is_requested(*slot) && !listed(*slot)) order.push_back(*slot);
  };
  const auto& row = source_->group.row;
  if (row && !row->selector_priority.empty()) {
    for (const std::string& name : row->selector_priority) add(name);
  } else {
    for (const std::string_view name : kDefaultSelectorPriority) add(name);
  }
  for (const SlotRequest& r : requirement.slots) {
    if (!listed(r.slot)) order.push_back(r.slot);
  }
  return order;
}

std::size_t SchedView::agent_count() const noexcept { return source_->group.agents.size(); }
const AgentId& SchedView::agent_id(AgentIndex agent) const noexcept {
  return source_->group.agents.id(agent);
}
const std::string& SchedView::architecture_name(std::uint32_t architecture) const noexcept {
  return source_->mirror.architectures()[architecture];
}
std::uint32_t SchedView::architecture(AgentIndex agent) const noexcept {
  return source_->group.agents.architecture(agent);
}
bool SchedView::takes_sessions(AgentIndex agent) const noexcept {
  return source_->group.agents.takes_sessions(agent);
}
std::uint32_t SchedView::containers(AgentIndex agent) const noexcept {
  return source_->group.agents.containers(agent);
}
bool SchedView::has_slot(AgentIndex agent, SlotIndex slot) const noexcept {
  return source_->group.agents.has_slot(agent, slot);
}
std::int64_t SchedView::capacity(AgentIndex agent, SlotIndex slot) const noexcept {
  const sched::SlotColumn* column = source_->group.agents.column(slot);
  return column != nullptr ? std::max<std::int64_t>(0, column->capacity[agent]) : 0;
}
std::int64_t SchedView::free(AgentIndex agent, SlotIndex slot) const noexcept {
  return source_->group.agents.free(agent, slot);
}
std::int64_t SchedView::observed_free(AgentIndex agent, SlotIndex slot) const noexcept {
  return source_->group.agents.observed(agent, slot);
}
std::span<const std::int64_t> SchedView::free_column(SlotIndex slot) const noexcept {
  const sched::SlotColumn* column = source_->group.agents.column(slot);
  return column != nullptr ? std::span<const std::int64_t>(column->free)
                           : std::span<const std::int64_t>();
}
std::int64_t SchedView::group_capacity(SlotIndex slot) const noexcept {
  const sched::SlotColumn* column = source_->group.agents.column(slot);
  if (column == nullptr) return 0;
  const sched::Int128 most = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(std::min(column->total, most));
}

std::span<const std::int64_t> SchedView::devices(AgentIndex agent, SlotIndex slot) const noexcept {
  const sched::DeviceSet* set = source_->group.agents.devices(agent, slot);
  return set != nullptr ? std::span<const std::int64_t>(set->free)
                        : std::span<const std::int64_t>();
}
std::span<const std::uint32_t> SchedView::hosted(AgentIndex agent, SlotIndex slot) const noexcept {
  const sched::DeviceSet* set = source_->group.agents.devices(agent, slot);
  return set != nullptr ? std::span<const std::uint32_t>(set->hosted)
                        : std::span<const std::uint32_t>();
}
std::string_view SchedView::label(AgentIndex agent, std::string_view name) const noexcept {
  return source_->group.agents.label(agent, name);
}
const LabelRule& SchedView::label_rule(std::uint32_t labels) const noexcept {
  return source_->mirror.label_rule(labels);
}

std::size_t SchedView::pending_count() const noexcept { return source_->group.pending; }
const PendingSession& SchedView::session(PendingIndex session) const noexcept {
  return source_->mirror.waiting(session).session;
}
const Request& SchedView::request(const PendingSession& session) const noexcept {
  return source_->mirror.request(session.request);
}
const Owner& SchedView::owner(const PendingSession& session) const noexcept {
  return source_->mirror.owner(session.owner).owner;
}
std::unique_ptr<Ordering> SchedView::queue(QueueOrder order) const {
  const sched::Group& group = source_->group;
  if (order != QueueOrder::ShortestFirst) {
    return sched::walk_bands(group.bands, order == QueueOrder::NewestFirst);
  }
  if (group.keeps_shortest) return sched::walk_bands(group.shortest, false);
  static const ByEstimate sorter;
  return sorter.start(*this);
}
std::vector<std::int32_t> SchedView::bands() const {
  std::vector<std::int32_t> priorities;
  for (const auto& [priority, band] : source_->group.bands) priorities.push_back(priority);
  return priorities;
}
std::vector<PendingIndex> SchedView::band(std::int32_t priority) const {
  const auto it = source_->group.bands.find(priority);
  if (it == source_->group.bands.end()) return {};
  return sched::list_band(it->second);
}
DependencyState SchedView::dependency(std::string_view session_id) const noexcept {
  const auto id = parse_uuid<SessionId>(session_id);
  return id ? source_->mirror.dependency(*id) : DependencyState::Unknown;
}

Holding SchedView::holding(ScopeKind kind, const PendingSession& session) const {
  return source_->ledger.holding(kind, session);
}
const KeypairPolicy* SchedView::user_policy(const PendingSession& session) const noexcept {
  return source_->mirror.user_policy(owner(session).user);
}
const SlotMap* SchedView::project_limits(const PendingSession& session) const noexcept {
  return source_->mirror.project_limits(owner(session).project);
}
const SlotMap* SchedView::domain_limits(const PendingSession& session) const noexcept {
  return source_->mirror.domain_limits(owner(session).domain);
}

std::unique_ptr<Ordering> BandSorter::start(const SchedView& view) const {
  return std::make_unique<SortedBands>(view, *this);
}

bool Candidates::empty() const { return search_->empty(); }
std::span<const AgentIndex> Candidates::list() const { return search_->list(); }
std::size_t Candidates::count() const { return search_->count(); }
AgentIndex Candidates::at(std::size_t place) const { return search_->at(place); }
std::optional<AgentIndex> Candidates::best(std::span<const KeyPart> key) const {
  return search_->best(key);
}
std::optional<AgentIndex> Candidates::highest(const SchedView& view,
                                              const ScoreSelector& scores) const {
  return search_->highest(view, scores);
}

std::uint32_t Selector::device(const SchedView&, const Demand&, AgentIndex, SlotIndex,
                               std::int64_t units, std::span<const std::int64_t> free) const {
  return sched::tightest_device(units, free);
}

std::optional<AgentIndex> ScoreSelector::select(const SchedView& view, const Demand&,
                                                const Candidates& candidates) const {
  return candidates.highest(view, *this);
}

}  // namespace bai
