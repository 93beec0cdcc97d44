// The agents of one resource group as a structure of arrays, in view order (by id).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"
#include "base/large_pages.hpp"

namespace bai::sched {

// Wider than any sum of amounts.
__extension__ using Int128 = __int128;

inline constexpr std::uint32_t kNoContainerLimit = 0xffff'ffff;  // per agent

inline constexpr std::int64_t kAbsentSlot = -1;  // as a capacity
inline constexpr std::int64_t kAbsentFree = std::numeric_limits<std::int64_t>::min();

struct SlotColumn {                    // all empty when no agent of the group ever had the slot
  std::vector<std::int64_t> capacity;  // or kAbsentSlot
  std::vector<std::int64_t> observed;  // capacity - granted, as of the mirror's version
  std::vector<std::int64_t> free;      // observed - what the present pass has granted
  Int128 total = 0;                    // capacity of agents that take sessions
};

// The devices that a slot is made of on one agent.
struct DeviceSet {
  std::vector<std::int64_t> capacity, free;            // of each device
  std::array<std::uint32_t, kHostedClasses> hosted{};  // containers by how many devices they have
  friend bool operator==(const DeviceSet&, const DeviceSet&) = default;
};
std::size_t hosted_class(std::int64_t units) noexcept;

using Labels = std::vector<std::pair<std::string, std::string>>;  // by name

// What the mirror knows of an agent.
struct AgentFacts {
  std::uint32_t architecture = 0;
  bool takes_sessions = false;
  std::uint32_t containers = 0;
  std::vector<std::pair<SlotIndex, std::int64_t>> capacity;
  std::vector<std::int64_t> granted;  // by slot; may be shorter or longer than `capacity` needs
  Labels labels;
  std::map<SlotIndex, std::vector<std::int64_t>> devices;         // capacity of each
  std::map<SlotIndex, std::vector<std::int64_t>> device_granted;  // by device
  std::map<SlotIndex, std::array<std::uint32_t, kHostedClasses>> hosted;
};

// An agent came to `at` or left it, so that the numbers behind it moved, or it has other labels.
struct AgentMove {
  enum class What : std::uint8_t { Came, Left, Relabelled };
  std::size_t changes_before = 0;  // entries of AgentTable::changed() that are older
  AgentIndex at = 0;
  What what = What::Came;
};

class AgentTable {
 public:
  std::size_t size() const noexcept { return ids_.size(); }
  std::size_t taking() const noexcept { return taking_; }  // agents that take sessions

  std::optional<AgentIndex> find(const AgentId& id) const noexcept;
  // Inserts in order of ids.
  AgentIndex add(const AgentId& id);
  // Any number of agents that are not there, in any order, in one go.
  void add_all(std::vector<AgentId> ids);
  // Inserts at `at`, whatever the order.
  void insert(AgentIndex at, const AgentId& id);
  void erase(AgentIndex at);
  void set(AgentIndex at, const AgentFacts& facts);

  const AgentId& id(AgentIndex at) const noexcept { return ids_[at]; }
  std::uint32_t architecture(AgentIndex at) const noexcept { return briefs_[at].architecture; }
  bool takes_sessions(AgentIndex at) const noexcept { return briefs_[at].takes_sessions; }
  std::uint32_t containers(AgentIndex at) const noexcept { return briefs_[at].containers; }
  const Labels& labels(AgentIndex at) const noexcept { return labels_[at]; }
  std::string_view label(AgentIndex at, std::string_view name) const noexcept;  // or empty

  // Null when no agent has the slot. Its `free` is as of this call.
  const SlotColumn* column(SlotIndex slot) const noexcept {
    if (columns_lag_ || columns_seen_ < changed_.size()) update_columns();
    return known_column(slot);
  }
  bool has_slot(AgentIndex at, SlotIndex slot) const noexcept {
    return slot < row_width_ && free_row(at)[slot] != kAbsentFree;
  }
  std::int64_t free(AgentIndex at, SlotIndex slot) const noexcept {
    return has_slot(at, slot) ? free_row(at)[slot] : 0;
  }
  std::int64_t capacity(AgentIndex at, SlotIndex slot) const noexcept {
    const SlotColumn* c = known_column(slot);
    return c != nullptr ? c->capacity[at] : kAbsentSlot;
  }
  std::int64_t observed(AgentIndex at, SlotIndex slot) const noexcept {
    const SlotColumn* c = known_column(slot);
    return c != nullptr ? c->observed[at] : 0;
  }
  // Whether observed() is above 0.
  bool has_some(AgentIndex at, SlotIndex slot) const noexcept {
    return slot < kBriefSlots ? (briefs_[at].some >> slot & 1) != 0 : observed(at, slot) > 0;
  }
  // What is free, by slot, side by side for who looks at one agent; kAbsentFree where it lacks the
  // slot. Has at least column_count() entries.
  const std::int64_t* free_row(AgentIndex at) const noexcept {
    return rows_.data() + std::size_t{at} * row_width_;
  }
  std::size_t column_count() const noexcept { return columns_.size(); }

  // Null when the slot is not made of devices on this agent.
  const DeviceSet* devices(AgentIndex at, SlotIndex slot) const noexcept {
    if (slot >= devices_.size() || devices_[slot].empty()) return nullptr;
    const DeviceSet& set = devices_[slot][at];
    return set.capacity.empty() ? nullptr : &set;
  }

  bool has_devices() const noexcept { return !devices_.empty(); }
  bool has_devices(SlotIndex slot) const noexcept {  // some agent, once
    return slot < devices_.size() && !devices_[slot].empty();
  }

  // Whether the requirement's amounts and devices are free; a request of 0 always is.
  bool fits(AgentIndex at, const Requirement& requirement) const noexcept;
  // Devices alone: whole ones, and for what remains one that has enough left.
  bool devices_fit(AgentIndex at, const Requirement& requirement) const noexcept;
  // Whether it could ever have room: when nothing ran on it.
  bool fits_when_empty(AgentIndex at, const Requirement& requirement) const noexcept;
  // For the ledger: `sign` is 1 to take and -1 to give back.
  void take(AgentIndex at, const Requirement& requirement, int sign) noexcept;
  // Soon take() will be called for it, and for others: what lies far away then comes all at once.
  void fetch(AgentIndex at) const noexcept {
    __builtin_prefetch(free_row(at), 1);
    __builtin_prefetch(&briefs_[at], 1);
  }
  // The devices of what was taken; for each part of a requirement all its grants at once.
  void take_devices(AgentIndex at, std::span<const DeviceGrant> grants, int sign) noexcept;

  // Sets bit i of `out[i]` to 1 for every agent in [first, first + count) that takes sessions, has
  // the architecture and labels, and room for amounts, devices and containers.
  void match(AgentIndex first, std::size_t count, const Requirement& requirement,
             std::uint32_t container_limit, std::uint8_t* out) const noexcept;

  // Which agents have the labels. Asked for before `match` sees a requirement with the rule.
  void prepare_rule(std::uint32_t labels, const LabelRule& rule);
  bool labels_match(AgentIndex at, std::uint32_t labels) const noexcept;

  // Agents that changed, in order; who remembers where it stopped catches up from there. When
  // `epoch` differs, everything may have changed, numbers included.
  std::uint64_t epoch() const noexcept { return epoch_; }
  const std::vector<AgentIndex>& changed() const noexcept { return changed_; }
  // For who follows agents that come and go or get other labels: in numbers as they were then. When
  // `log_epoch` differs both logs begin anew.
  std::uint64_t log_epoch() const noexcept { return log_epoch_; }
  const std::vector<AgentMove>& moves() const noexcept { return moves_; }
  // Differs when agents have come or gone, or have other labels or capacity.
  std::uint64_t settings_epoch() const noexcept { return settings_epoch_; }
  // Differs when agents have come or gone, or have other labels.
  std::uint64_t labels_version() const noexcept { return labels_version_; }
  // Differs when agents have come or gone, have other labels or another architecture, or have begun
  // or ceased to take sessions.
  std::uint64_t kinds_version() const noexcept { return kinds_version_; }
  // Differs when set(), add() or erase() was called: not for what a pass takes and gives back.
  std::uint64_t facts_epoch() const noexcept { return facts_epoch_; }

 private:
  static constexpr SlotIndex kBriefSlots = 32;
  // What is asked of every agent that is looked at, in one place.
  struct Brief {
    std::uint32_t architecture = 0;
    std::uint32_t containers = 0;
    std::uint32_t some = 0;  // of the first slots: whether observed() is above 0, a bit each
    bool takes_sessions = false;
  };

  const SlotColumn* known_column(SlotIndex slot) const noexcept {
    return slot < columns_.size() && !columns_[slot].capacity.empty() ? &columns_[slot] : nullptr;
  }
  // Rows are what is written; who looks at columns is fewer, and brings them up to date.
  void update_columns() const noexcept;
  SlotColumn& writable_column(SlotIndex slot);
  std::int64_t* writable_row(AgentIndex at) noexcept {
    return rows_.data() + std::size_t{at} * row_width_;
  }
  void widen_rows();
  void clear(AgentIndex at);
  bool same_capacity(AgentIndex at, const AgentFacts& facts) const noexcept;
  void set_devices(AgentIndex at, const AgentFacts& facts);
  void make_room(std::span<const AgentId> ids, std::span<const AgentIndex> at);
  void note(AgentIndex at);
  void change_settings() noexcept;
  void note_move(AgentIndex at, AgentMove::What what);
  void begin_logs() noexcept;  // anew

  struct Rule {
    std::uint64_t version = 0;  // of the labels; 0: never asked for
    LabelRule rule;
    std::vector<std::uint8_t> match;  // by agent
  };

  std::vector<AgentId> ids_;
  std::vector<Brief, base::LargePages<Brief>> briefs_;
  std::vector<Labels> labels_;
  mutable std::vector<SlotColumn> columns_;  // by slot
  mutable std::size_t columns_seen_ = 0;     // entries of `changed_` that their `free` has followed
  mutable bool columns_lag_ = false;         // it has not followed earlier ones
  std::vector<std::int64_t, base::LargePages<std::int64_t>> rows_;
  std::size_t row_width_ = 0;                    // whole cache lines
  std::vector<std::vector<DeviceSet>> devices_;  // by slot, then by agent
  std::vector<Rule> rules_;                      // by number of the rule
  std::vector<AgentIndex> changed_;
  std::vector<AgentMove> moves_;
  std::uint64_t epoch_ = 1, log_epoch_ = 1, labels_version_ = 1, settings_epoch_ = 1,
                kinds_version_ = 1, facts_epoch_ = 1;
  std::size_t taking_ = 0;
};

bool has_labels(const Labels& labels, const LabelRule& rule) noexcept;

// Names the device for a part of one: slot, units, what each has left.
using DevicePick =
    std::function<std::uint32_t(SlotIndex, std::int64_t, std::span<const std::int64_t>)>;

// The devices for a requirement: whole ones from the lowest number up, and for what remains the one
// that `pick` names. Nothing when they do not fit, or when `pick` names one that has not enough.
std::optional<std::vector<DeviceGrant>> choose_devices(const AgentTable& agents, AgentIndex agent,
                                                       const Requirement& requirement,
                                                       const DevicePick& pick);
// The first of those that have the least left, but enough.
std::uint32_t tightest_device(std::int64_t units, std::span<const std::int64_t> free) noexcept;

}  // namespace bai::sched
