#include "sched/fit_bitmaps.hpp"

#include <algorithm>
#include <bit>
#include <limits>

namespace bai::sched {

namespace {

constexpr std::size_t kAgentsMin = 512;  // for fewer a scan is as fast
constexpr std::uint32_t kScans = 16;     // that cost as much as the columns of a requirement

constexpr std::size_t kBits = AmountBitmaps::kBits;

template <class Test>
void fill(std::vector<std::uint64_t>& bitmap, std::size_t agents, Test&& test) {
  bitmap.assign(AmountBitmaps::words_for(agents), 0);
  for (std::size_t a = 0; a < agents; ++a) {
    bitmap[a / kBits] |= std::uint64_t{test(static_cast<AgentIndex>(a))} << a % kBits;
  }
}

bool is_of_kind(const AgentTable& agents, AgentIndex agent, std::uint32_t architecture) {
  return agents.takes_sessions(agent) && agents.architecture(agent) == architecture;
}

// Calls `each(slot, units)` for what the requirement asks for of slots that are made of devices.
template <class Each>
void for_each_device_slot(const AgentTable& agents, const Requirement& requirement, Each&& each) {
  const auto walk = [&](const std::vector<SlotRequest>& slots) {
    for (const SlotRequest& r : slots) {
      if (r.units != 0 && agents.has_devices(r.slot)) each(r.slot, r.units);
    }
  };
  if (requirement.parts.empty()) walk(requirement.slots);
  for (const auto& part : requirement.parts) walk(part);
}

}  // namespace

std::int64_t FitBitmaps::amount(const AgentTable& agents, AgentIndex agent, const Column& column) {
  if (column.what == What::Free) return agents.free(agent, column.slot);
  if (column.what == What::Running) return -std::int64_t{agents.containers(agent)};
  const DeviceSet* devices = agents.devices(agent, column.slot);
  if (devices == nullptr) return std::numeric_limits<std::int64_t>::max();
  std::int64_t idle = 0, part = std::numeric_limits<std::int64_t>::min();
  for (const std::int64_t free : devices->free) {
    if (free >= kUnitsPerDevice) {
      ++idle;
    } else {
      part = std::max(part, free);
    }
  }
  return column.what == What::Idle ? idle : part;
}

void FitBitmaps::follow(const AgentTable& agents) {
  const auto& changed = agents.changed();
  // To follow more changes takes longer than to look at all agents.
  const std::size_t lag_max = 64 + agents.size() / 16;
  if (epoch_ != agents.epoch() || changed.size() - followed_ > lag_max) {
    for (Column& column : columns_) {
      column.is_built = false;
      column.scans = 0;
    }
    kinds_.clear();
  } else {
    for (std::size_t i = followed_; i < changed.size(); ++i) {
      const AgentIndex agent = changed[i];
      for (Column& column : columns_) {
        if (column.is_built) column.amounts.set(agent, amount(agents, agent, column));
      }
      const std::uint64_t bit = std::uint64_t{1} << agent % kBits;
      for (Kind& kind : kinds_) {
        std::uint64_t& word = kind.has[agent / kBits];
        word = is_of_kind(agents, agent, kind.architecture) ? word | bit : word & ~bit;
      }
    }
  }
  epoch_ = agents.epoch();
  followed_ = changed.size();
}

FitBitmaps::Column& FitBitmaps::column_of(What what, SlotIndex slot) {
  const auto it = std::ranges::find_if(
      columns_, [&](const Column& c) { return c.what == what && c.slot == slot; });
  if (it != columns_.end()) return *it;
  columns_.emplace_back();
  columns_.back().what = what;
  columns_.back().slot = slot;
  return columns_.back();
}

bool FitBitmaps::is_ready(const AgentTable& agents, What what, SlotIndex slot) {
  Column& column = column_of(what, slot);
  if (column.is_built ? !column.amounts.is_uneven() : column.scans++ < kScans) {
    return column.is_built;
  }
  if (what == What::Free) {
    column.amounts.build(agents.column(slot)->free);
  } else {
    amounts_.resize(agents.size());
    for (AgentIndex a = 0; a < agents.size(); ++a) amounts_[a] = amount(agents, a, column);
    column.amounts.build(amounts_);
  }
  column.is_built = true;
  return true;
}

bool FitBitmaps::is_ready(const AgentTable& agents, const Requirement& requirement,
                          std::uint32_t container_limit) {
  bool ready = true;
  const auto need = [&](What what, SlotIndex slot) {
    if (!is_ready(agents, what, slot)) ready = false;
  };
  for (const SlotRequest& r : requirement.slots) {
    if (r.units != 0) need(What::Free, r.slot);
  }
  if (container_limit != kNoContainerLimit) need(What::Running, 0);
  for_each_device_slot(agents, requirement, [&](SlotIndex slot, std::int64_t) {
    need(What::Idle, slot);
    if (requirement.parts.empty()) need(What::Part, slot);
  });
  return ready;
}

const FitBitmaps::Bitmap& FitBitmaps::kind(const AgentTable& agents, std::uint32_t architecture) {
  const auto it = std::ranges::find(kinds_, architecture, &Kind::architecture);
  if (it != kinds_.end()) return it->has;
  kinds_.push_back({architecture, {}});
  fill(kinds_.back().has, agents.size(),
       [&](AgentIndex a) { return is_of_kind(agents, a, architecture); });
  return kinds_.back().has;
}

const FitBitmaps::Bitmap& FitBitmaps::rule(const AgentTable& agents, std::uint32_t number,
                                           const LabelRule& labels) {
  if (number >= rules_.size()) rules_.resize(number + 1);
  Rule& rule = rules_[number];
  if (rule.version != agents.labels_version() || rule.labels != labels) {
    rule.version = agents.labels_version();
    rule.labels = labels;
    fill(rule.has, agents.size(), [&](AgentIndex a) { return agents.labels_match(a, number); });
  }
  return rule.has;
}

void FitBitmaps::narrow(AmountBitmaps::Bounds to) {
  for (std::size_t i = 0; i < sure_.size(); ++i) {
    sure_[i] &= to.sure[i];
    maybe_[i] &= to.maybe[i];
  }
}

// For what is no whole device there is one that is partly free, or one more that is idle.
void FitBitmaps::narrow_devices(SlotIndex slot, std::int64_t units) {
  const std::int64_t whole = units / kUnitsPerDevice, rest = units % kUnitsPerDevice;
  AmountBitmaps& idle = column_of(What::Idle, slot).amounts;
  const auto some = idle.at_least(whole);
  if (rest == 0) return narrow(some);
  const auto more = idle.at_least(whole + 1);
  const auto part = column_of(What::Part, slot).amounts.at_least(rest);
  for (std::size_t i = 0; i < sure_.size(); ++i) {
    sure_[i] &= more.sure[i] | (some.sure[i] & part.sure[i]);
    maybe_[i] &= more.maybe[i] | (some.maybe[i] & part.maybe[i]);
  }
}

// For several kernels none of their whole devices is another one's, and there is room for all when
// no part of a device shares it with another part; between the two they have to be tried.
void FitBitmaps::narrow_parts(const AgentTable& agents, const Requirement& requirement) {
  struct Devices {
    SlotIndex slot;
    std::int64_t least, most;
  };
  std::vector<Devices> wanted;
  for_each_device_slot(agents, requirement, [&](SlotIndex slot, std::int64_t units) {
    auto it = std::ranges::find(wanted, slot, &Devices::slot);
    if (it == wanted.end()) it = wanted.insert(it, {slot, 0, 0});
    it->least += units / kUnitsPerDevice;
    it->most += (units + kUnitsPerDevice - 1) / kUnitsPerDevice;
  });
  for (const Devices& devices : wanted) {
    AmountBitmaps& idle = column_of(What::Idle, devices.slot).amounts;
    narrow({idle.at_least(devices.most).sure, idle.at_least(devices.least).maybe});
  }
}

bool FitBitmaps::find(const AgentTable& agents, const Requirement& requirement,
                      const LabelRule& labels, std::uint32_t container_limit,
                      std::span<std::uint64_t> fits) {
  if (agents.size() < kAgentsMin) return false;
  const bool is_unknown = std::ranges::any_of(requirement.slots, [&](const SlotRequest& r) {
    return r.units != 0 && agents.column(r.slot) == nullptr;
  });
  if (is_unknown) {  // nobody ever had it
    std::ranges::fill(fits, 0);
    return true;
  }
  follow(agents);
  if (!is_ready(agents, requirement, container_limit)) return false;

  sure_ = kind(agents, requirement.architecture);
  if (requirement.labels != 0) {
    const Bitmap& has = rule(agents, requirement.labels, labels);
    for (std::size_t i = 0; i < sure_.size(); ++i) sure_[i] &= has[i];
  }
  maybe_ = sure_;
  for (const SlotRequest& r : requirement.slots) {
    if (r.units != 0) narrow(column_of(What::Free, r.slot).amounts.at_least(r.units));
  }
  if (container_limit != kNoContainerLimit) {
    const std::int64_t room = std::int64_t{container_limit} - requirement.containers;
    narrow(column_of(What::Running, 0).amounts.at_least(-room));
  }
  if (requirement.parts.empty()) {
    for_each_device_slot(agents, requirement,
                         [&](SlotIndex slot, std::int64_t units) { narrow_devices(slot, units); });
  } else {
    narrow_parts(agents, requirement);
  }

  for (std::size_t i = 0; i < fits.size(); ++i) {
    fits[i] = sure_[i];
    for (std::uint64_t rest = maybe_[i] & ~sure_[i]; rest != 0; rest &= rest - 1) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(rest));
      std::uint8_t match = 0;
      ++looked_at_;
      agents.match(static_cast<AgentIndex>(i * kBits + bit), 1, requirement, container_limit,
                   &match);
      fits[i] |= std::uint64_t{match} << bit;
    }
  }
  return true;
}

}  // namespace bai::sched
