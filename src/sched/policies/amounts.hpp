// What the policies that rate agents by processors and devices have in common.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>

#include "bai_manager/policy.hpp"

namespace bai::sched {

// Options "cpu" and "device": slot names; "cpu_scale" and "device_scale": how many of them count as
// a whole agent.
struct AmountOptions {
  std::string cpu, device;  // `device` may be empty: the one of which the group has most
  double cpu_scale = 0, device_scale = 0;  // in units of the slots
};
AmountOptions read_amount_options(PolicyOptions& options);

// The slot of devices, or parts of them, of which the agents of the group have most.
std::optional<SlotIndex> main_device_slot(const SchedView& view);

// The two slots in one view; what nobody has is free nowhere.
class Amounts {
 public:
  Amounts(const SchedView& view, const AmountOptions& options)
      : cpu_(view.find_slot(options.cpu)),
        device_(options.device.empty() ? main_device_slot(view) : view.find_slot(options.device)) {}

  std::int64_t free_cpu(const SchedView& view, AgentIndex agent) const {
    return cpu_ ? view.free(agent, *cpu_) : 0;
  }
  std::int64_t free_device(const SchedView& view, AgentIndex agent) const {
    return device_ ? view.free(agent, *device_) : 0;
  }
  using Devices = std::array<std::int64_t, kDevicesMax>;
  // What each device has left. Of devices that an agent does not list only whole ones are known:
  // `whole` holds as many as are free, and the others as used up.
  std::span<const std::int64_t> devices(const SchedView& view, AgentIndex agent,
                                        Devices& whole) const {
    if (!device_) return {};
    const auto listed = view.devices(agent, *device_);
    if (!listed.empty()) return listed;
    const auto count = std::min(view.capacity(agent, *device_) / kUnitsPerDevice, kWholeMax);
    const auto free = std::clamp(view.free(agent, *device_) / kUnitsPerDevice, kNone, count);
    std::fill_n(whole.begin(), free, kUnitsPerDevice);
    std::fill(whole.begin() + free, whole.begin() + count, kNone);
    return {whole.data(), static_cast<std::size_t>(count)};
  }
  std::span<const std::uint32_t> hosted(const SchedView& view, AgentIndex agent) const {
    return device_ ? view.hosted(agent, *device_) : std::span<const std::uint32_t>();
  }
  std::int64_t cpu(const Requirement& requirement) const { return of(requirement, cpu_); }
  std::int64_t device(const Requirement& requirement) const { return of(requirement, device_); }
  bool is_device(SlotIndex slot) const { return device_ == slot; }

 private:
  static constexpr std::int64_t kNone = 0, kWholeMax = kDevicesMax;

  static std::int64_t of(const Requirement& requirement, std::optional<SlotIndex> slot) {
    for (const SlotRequest& r : requirement.slots) {
      if (r.slot == slot) return r.units;
    }
    return 0;
  }

  std::optional<SlotIndex> cpu_, device_;
};

// Rates agents by what they have free of the two.
class AmountRater : public Rater {
 public:
  // `falls`: scores fall with what is free; otherwise they grow.
  AmountRater(const AmountOptions& options, const SchedView& view, bool falls)
      : options_(options), amounts_(view, options), falls_(falls) {}

  std::int64_t score(const SchedView& view, const Requirement& requirement,
                     AgentIndex agent) const final {
    return rate(requirement, amounts_.free_cpu(view, agent), amounts_.free_device(view, agent));
  }
  std::size_t traits() const final { return 2; }
  void describe(const SchedView& view, AgentIndex agent,
                std::span<std::int64_t> traits) const final {
    traits[0] = amounts_.free_cpu(view, agent);
    traits[1] = amounts_.free_device(view, agent);
  }
  std::int64_t bound(const Requirement& requirement, std::span<const std::int64_t> least,
                     std::span<const std::int64_t> most) const final {
    return falls_ ? rate(requirement, least[0], least[1]) : rate(requirement, most[0], most[1]);
  }

 protected:
  // Never in the other direction, also when it is rounded.
  virtual std::int64_t rate(const Requirement& requirement, std::int64_t free_cpu,
                            std::int64_t free_device) const = 0;
  // A share of whole agents in percent, towards 0.
  static std::int64_t percent(double share) noexcept {
    constexpr double kMost = 1e15;
    return static_cast<std::int64_t>(100 * std::clamp(share, -kMost, kMost));
  }

  const AmountOptions& options_;
  const Amounts amounts_;

 private:
  const bool falls_;
};

}  // namespace bai::sched
