#include <algorithm>
#include <array>

#include "sched/policies/amounts.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

// Devices in use before idle ones, agents in use before idle ones.
class GpuPacking final : public ScoreSelector {
 public:
  explicit GpuPacking(AmountOptions options) : options_(std::move(options)) {}

  std::unique_ptr<const Rater> rater(const SchedView& view) const override {
    return std::make_unique<PackRater>(options_, view);
  }

 private:
  class PackRater final : public Rater {
   public:
    PackRater(const AmountOptions& options, const SchedView& view) : amounts_(view, options) {}

    std::int64_t score(const SchedView& view, const Requirement& requirement,
                       AgentIndex agent) const override {
      const std::int64_t wanted = amounts_.device(requirement);
      Amounts::Devices whole_ones;
      const auto devices = amounts_.devices(view, agent, whole_ones);
      if (wanted == 0 || devices.empty()) return 0;
      const auto count = static_cast<std::int64_t>(devices.size());
      const auto is_idle = [](std::int64_t left) { return left >= kUnitsPerDevice; };
      if (std::ranges::all_of(devices, is_idle)) return std::max(33 - count, count);
      const bool whole = wanted >= kUnitsPerDevice;
      const auto number =
          static_cast<std::size_t>(whole ? (wanted + kUnitsPerDevice - 1) / kUnitsPerDevice : 1);
      const std::int64_t each = whole ? kUnitsPerDevice : wanted;
      std::array<std::int64_t, kDevicesMax> left{};
      const auto end = std::ranges::copy_if(devices, left.begin(), [&](std::int64_t l) {
                         return l >= each;
                       }).out;
      std::sort(left.begin(), end);
      const auto last = left.begin() + static_cast<std::ptrdiff_t>(std::min(
                                           number, static_cast<std::size_t>(end - left.begin())));
      const auto idle = std::count_if(left.begin(), last, is_idle);
      if (idle > 0) return std::max<std::int64_t>(50 - idle, 33);
      std::int64_t sum = 0;
      for (auto it = left.begin(); it != last; ++it) sum += *it * 100 / kUnitsPerDevice;
      return std::max<std::int64_t>(100 - sum / 10, 50);
    }

    // Free devices and processors; how many devices there are, and whether all are idle; whether
    // the agent lists them; which tenths of a device some device has left, as flags.
    std::size_t traits() const override { return kFirstTenth + kTenths + 1; }
    std::size_t splits() const override { return kFirstTenth; }
    void describe(const SchedView& view, AgentIndex agent,
                  std::span<std::int64_t> traits) const override {
      Amounts::Devices whole_ones;
      const auto devices = amounts_.devices(view, agent, whole_ones);
      std::ranges::fill(traits, 0);
      bool all_idle = !devices.empty();
      for (const std::int64_t left : devices) {
        const std::int64_t tenth = std::clamp<std::int64_t>(left / kTenth, 0, kTenths);
        traits[kFirstTenth + static_cast<std::size_t>(tenth)] = 1;
        all_idle = all_idle && left >= kUnitsPerDevice;
      }
      traits[0] = amounts_.free_device(view, agent);
      traits[1] = amounts_.free_cpu(view, agent);
      traits[kAllIdle] = all_idle ? 1 : 0;
      traits[kListed] = devices.data() != whole_ones.data() ? 1 : 0;
      traits[kCount] = static_cast<std::int64_t>(devices.size());
    }
    std::int64_t bound(const Requirement& requirement, std::span<const std::int64_t> least,
                       std::span<const std::int64_t> most) const override {
      const std::int64_t wanted = amounts_.device(requirement);
      if (wanted == 0 || most[kCount] == 0) return 0;
      const std::int64_t idle = std::max(33 - least[kCount], most[kCount]);
      if (least[kAllIdle] == 1) return idle;
      const auto flag = [](std::span<const std::int64_t> traits, std::int64_t tenth) {
        return traits[kFirstTenth + static_cast<std::size_t>(tenth)] == 1;
      };
      // Who has room may have no device that is large enough when devices are not listed, or when
      // several kernels get one each.
      const bool is_listed = least[kListed] == 1 && requirement.parts.empty();
      const std::int64_t each = std::min(wanted, kUnitsPerDevice);
      bool is_there = is_listed;
      for (std::int64_t t = (each + kTenth - 1) / kTenth; t <= kTenths && !is_there; ++t) {
        is_there = flag(least, t);
      }
      if (!is_there) return 100;
      for (std::int64_t t = each / kTenth; t < kTenths; ++t) {
        if (flag(most, t)) return 100 - t;
      }
      const std::int64_t number = is_listed ? std::max(wanted / kUnitsPerDevice, kOne) : kOne;
      return std::max(most[kAllIdle] == 1 ? idle : 0, std::max<std::int64_t>(50 - number, 33));
    }

   private:
    static constexpr std::int64_t kTenth = kUnitsPerDevice / 10, kTenths = 10;  // idle ones last
    static constexpr std::int64_t kOne = 1;
    static constexpr std::size_t kCount = 2, kAllIdle = 3, kListed = 4, kFirstTenth = 5;
    Amounts amounts_;
  };

  AmountOptions options_;
};

}  // namespace

std::unique_ptr<const Selector> make_gpu_packing(PolicyOptions& options) {
  return std::make_unique<GpuPacking>(read_amount_options(options));
}

}  // namespace bai::sched
