// Fragmentation gradient descent: the agent (and device) on which the expected amount of devices
// that the usual workload cannot use grows least.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "sched/agent_table.hpp"
#include "sched/policies/amounts.hpp"
#include "sched/policies/policies.hpp"

namespace bai::sched {

namespace {

constexpr std::int64_t kCountMax = 1'000'000'000;  // of one class
constexpr std::size_t kClassesMax = 10'000;

// One kind of request of the target workload.
struct WorkloadClass {
  std::int64_t count = 0;  // its weight
  std::int64_t cpu = 0;
  std::int64_t each = 0;  // of each device
  std::int64_t devices = 0;
  std::vector<std::string> labels;  // values of the label that allow it; empty: any
};

struct FragmentationOptions {
  AmountOptions amounts;
  std::string label;
  std::vector<WorkloadClass> classes;
  std::int64_t total = 0;  // of the counts
  bool exact = false;
};

// The amounts of the workload that agents with one value of the label can run: for each amount of a
// device, the weight of the classes that ask for at most so many devices and processors.
class RunnableWeight {
 public:
  RunnableWeight(const FragmentationOptions& options, std::string_view label) {
    for (const WorkloadClass& c : options.classes) {
      if (c.devices == 0) continue;
      amounts_.push_back(c.each);
      levels_.push_back(c.cpu);
    }
    const auto distinct = [](std::vector<std::int64_t>& values) {
      std::ranges::sort(values);
      values.erase(std::ranges::unique(values).begin(), values.end());
    };
    distinct(amounts_);
    distinct(levels_);
    weights_.assign(amounts_.size() * (kDevicesMax + 1) * (levels_.size() + 1), 0);
    for (const WorkloadClass& c : options.classes) {
      if (c.devices == 0) continue;
      if (!c.labels.empty() && std::ranges::find(c.labels, label) == c.labels.end()) continue;
      const auto amount =
          static_cast<std::size_t>(std::ranges::lower_bound(amounts_, c.each) - amounts_.begin());
      for (auto devices = static_cast<std::size_t>(c.devices); devices <= kDevicesMax; ++devices) {
        for (std::size_t level = level_of(c.cpu); level <= levels_.size(); ++level) {
          weights_[at(amount, devices, level)] += c.count;
        }
      }
    }
  }

  const std::vector<std::int64_t>& amounts() const noexcept { return amounts_; }
  // How many of the distinct processor requests fit into `cpu`.
  std::size_t level_of(std::int64_t cpu) const noexcept {
    return static_cast<std::size_t>(std::ranges::upper_bound(levels_, cpu) - levels_.begin());
  }
  std::int64_t weight(std::size_t amount, std::size_t devices, std::size_t level) const noexcept {
    return weights_[at(amount, devices, level)];
  }

 private:
  std::size_t at(std::size_t amount, std::size_t devices, std::size_t level) const noexcept {
    return (level * amounts_.size() + amount) * (kDevicesMax + 1) + devices;
  }
  std::vector<std::int64_t> amounts_, levels_, weights_;
};

// An agent's devices as the workload sees them: for each amount of a device that it asks for, how
// many devices have it, and what these have together.
class Census {
 public:
  Census(const RunnableWeight& runnable, std::int64_t total, std::span<const std::int64_t> left)
      : runnable_(runnable), total_(total) {
    for (const std::int64_t l : left) all_ += l;
    for (std::size_t a = 0; a < runnable.amounts().size(); ++a) {
      const std::int64_t amount = runnable.amounts()[a];
      std::int64_t large = 0, count = 0;
      for (const std::int64_t l : left) {
        const std::int64_t fits = l >= amount ? 1 : 0;
        large += fits * l;
        count += fits;
      }
      large_[a] = large;
      count_[a] = count;
    }
  }

  void take_whole(std::int64_t number) {
    all_ -= number * kUnitsPerDevice;
    for (std::size_t a = 0; a < runnable_.amounts().size(); ++a) {
      large_[a] -= number * kUnitsPerDevice;
      count_[a] -= number;
    }
  }

  // Amounts that the workload cannot use, times its total count, with `level` of the processors...
  std::int64_t fragmented(std::size_t level) const {
    std::int64_t usable = 0;
    for (std::size_t a = 0; a < runnable_.amounts().size(); ++a) {
      usable += large_[a] * runnable_.weight(a, static_cast<std::size_t>(count_[a]), level);
    }
    return total_ * all_ - usable;
  }
  // ... and when a device that has `has` gives `units` of it.
  std::int64_t fragmented_after(std::size_t level, std::int64_t has, std::int64_t units) const {
    std::int64_t usable = 0;
    for (std::size_t a = 0; a < runnable_.amounts().size(); ++a) {
      const std::int64_t amount = runnable_.amounts()[a];
      const std::int64_t was = has >= amount ? 1 : 0, stays = has - units >= amount ? 1 : 0;
      const std::int64_t large = large_[a] - was * has + stays * (has - units);
      const auto count = static_cast<std::size_t>(count_[a] - was + stays);
      usable += large * runnable_.weight(a, count, level);
    }
    return total_ * (all_ - units) - usable;
  }

 private:
  const RunnableWeight& runnable_;
  std::int64_t total_, all_ = 0;
  // Only as many as the workload has amounts; left as they are beyond.
  std::array<std::int64_t, kUnitsPerDevice + 1> large_, count_;
};

class FragmentationRater final : public Rater {
 public:
  FragmentationRater(const FragmentationOptions& options, const SchedView& view)
      : options_(options), amounts_(view, options.amounts) {
    std::map<std::string_view, std::uint32_t> known;
    for (AgentIndex a = 0; a < view.agent_count(); ++a) {
      const std::string_view label = view.label(a, options.label);
      const auto [it, is_new] =
          known.try_emplace(label, static_cast<std::uint32_t>(runnable_.size()));
      if (is_new) runnable_.emplace_back(options, label);
      runnable_of_.push_back(it->second);
    }
    watch_amounts();
  }

  std::int64_t score(const SchedView& view, const Requirement& requirement,
                     AgentIndex agent) const override {
    Amounts::Devices whole_ones;
    const auto left = amounts_.devices(view, agent, whole_ones);
    const RunnableWeight& runnable = runnable_[runnable_of_[agent]];
    Census census(runnable, options_.total, left);
    const std::int64_t cpu = amounts_.free_cpu(view, agent);
    const std::int64_t before = census.fragmented(runnable.level_of(cpu));
    const std::size_t level = runnable.level_of(cpu - amounts_.cpu(requirement));
    if (left.empty()) return rate(before - census.fragmented(level));  // of no devices
    if (!requirement.parts.empty()) {
      const auto after = after_parts(requirement, {left.begin(), left.end()});
      return rate(before - Census(runnable, options_.total, after).fragmented(level));
    }
    const std::int64_t wanted = amounts_.device(requirement);
    // Of devices that the agent does not list no more are known than kDevicesMax.
    std::int64_t whole = std::min(wanted / kUnitsPerDevice, std::int64_t{kDevicesMax});
    const std::int64_t rest = wanted % kUnitsPerDevice;
    if (whole > 0) census.take_whole(whole);
    if (rest == 0) return rate(before - census.fragmented(level));
    std::int64_t least = std::numeric_limits<std::int64_t>::max(), seen = -1;
    for (const std::int64_t has : left) {
      if (has >= kUnitsPerDevice && whole-- > 0) continue;
      if (has < rest || has == seen) continue;
      seen = has;
      least = std::min(least, census.fragmented_after(level, has, rest));
    }
    return rate(before - least);
  }

  // The value of the label, processors, the most that a device has left, and how many devices have
  // at least each of the amounts that are watched.
  std::size_t traits() const override { return kFirstCount + watched_.size(); }
  std::size_t splits() const override { return kFirstCount; }
  void describe(const SchedView& view, AgentIndex agent,
                std::span<std::int64_t> traits) const override {
    Amounts::Devices whole_ones;
    const auto left = amounts_.devices(view, agent, whole_ones);
    traits[0] = runnable_of_[agent];
    traits[1] = std::min(amounts_.free_cpu(view, agent), plenty_);
    traits[2] = left.empty() ? 0 : std::ranges::max(left);
    for (std::size_t i = 0; i < watched_.size(); ++i) {
      const std::int64_t amount = runnable_.front().amounts()[watched_[i]];
      traits[kFirstCount + i] =
          std::ranges::count_if(left, [&](std::int64_t l) { return l >= amount; });
    }
  }

  // Scores fall with what the workload could have used and then cannot: the amounts that are given,
  // and those that fewer processors leave idle. Each amount of the workload has its part in it,
  // none below 0, so that some may be left out.
  std::int64_t bound(const Requirement& requirement, std::span<const std::int64_t> least,
                     std::span<const std::int64_t> most) const override {
    const std::int64_t wanted =
        std::min(amounts_.device(requirement), std::int64_t{kDevicesMax} * kUnitsPerDevice);
    const std::int64_t gain = options_.total * wanted;
    if (least[0] != most[0]) return rate_at_most(gain);
    const RunnableWeight& runnable = runnable_[static_cast<std::size_t>(least[0])];
    const std::int64_t cpu = amounts_.cpu(requirement);
    const std::int64_t least_cpu = cpu > 0 ? std::max(least[1], cpu) : least[1];
    const std::size_t before = runnable.level_of(least_cpu);
    const std::size_t after_least = runnable.level_of(least_cpu - cpu);
    const std::size_t after_most = runnable.level_of(most[1] < plenty_ ? most[1] - cpu : plenty_);
    // What is given of devices that have so much: part of one, or whole ones.
    const std::int64_t whole = wanted / kUnitsPerDevice;
    const std::int64_t given = !requirement.parts.empty() ? 0
                               : whole > 0                ? whole * kUnitsPerDevice
                                                          : wanted;
    // Every device that can give part of it has some larger amount, too, where as many have the one
    // as the other.
    const auto enough = std::ranges::upper_bound(
        watched_, wanted, {}, [&](std::size_t a) { return runnable.amounts()[a]; });
    const auto known = static_cast<std::size_t>(enough - watched_.begin());
    const std::int64_t givers =
        known > 0 ? most[kFirstCount + known - 1] : std::numeric_limits<std::int64_t>::max();
    std::int64_t lost = 0, above = 0;  // what those have that have more
    for (std::size_t i = watched_.size(); i-- > 0;) {
      const std::size_t a = watched_[i];
      const std::int64_t amount = runnable.amounts()[a];
      const std::int64_t count = least[kFirstCount + i];
      const std::int64_t large = amount * count + above;
      above += (amount - (i > 0 ? runnable.amounts()[watched_[i - 1]] : 0)) * count;
      const auto devices = static_cast<std::size_t>(count);
      if (before > after_most && count > 0) {
        lost +=
            large * (runnable.weight(a, devices, before) - runnable.weight(a, devices, after_most));
      }
      if (given == 0 || (i >= known && givers > count)) continue;
      const std::int64_t there = std::max({count, whole, std::int64_t{1}});
      lost += given * runnable.weight(a, static_cast<std::size_t>(there), after_least);
    }
    return rate_at_most(gain - lost);
  }

  // The first of the devices with the highest score. `free` is what they have after the whole ones
  // of the same request were taken.
  std::uint32_t device(const SchedView& view, const Requirement& requirement, AgentIndex agent,
                       SlotIndex slot, std::int64_t units,
                       std::span<const std::int64_t> free) const {
    if (!amounts_.is_device(slot)) return tightest_device(units, free);
    const RunnableWeight& runnable = runnable_[runnable_of_[agent]];
    const std::int64_t cpu = amounts_.free_cpu(view, agent);
    Amounts::Devices whole_ones;
    const Census now(runnable, options_.total, amounts_.devices(view, agent, whole_ones));
    const std::int64_t before = now.fragmented(runnable.level_of(cpu));
    const Census census(runnable, options_.total, free);
    const std::size_t level = runnable.level_of(cpu - amounts_.cpu(requirement));
    std::uint32_t best = 0;
    std::optional<std::int64_t> best_score;
    for (std::uint32_t i = 0; i < free.size(); ++i) {
      if (free[i] < units) continue;
      const std::int64_t score = rate(before - census.fragmented_after(level, free[i], units));
      if (best_score && score <= *best_score) continue;
      best_score = score;
      best = i;
    }
    return best;
  }

 private:
  // What devices have left when each of several kernels was given its own, as tight as can be.
  std::vector<std::int64_t> after_parts(const Requirement& requirement,
                                        std::vector<std::int64_t> left) const {
    for (const auto& part : requirement.parts) {
      for (const SlotRequest& r : part) {
        if (!amounts_.is_device(r.slot)) continue;
        std::int64_t whole = r.units / kUnitsPerDevice;
        const std::int64_t rest = r.units % kUnitsPerDevice;
        for (std::int64_t& has : left) {
          if (whole == 0) break;
          if (has < kUnitsPerDevice) continue;
          has -= kUnitsPerDevice;
          --whole;
        }
        if (rest == 0) continue;
        std::int64_t& from = left[tightest_device(rest, left)];
        if (from >= rest) from -= rest;  // less is known of devices that the agent does not list
      }
    }
    return left;
  }
  static constexpr std::size_t kFirstCount = 3;   // of the traits
  static constexpr std::size_t kWatchedMax = 16;  // amounts
  static constexpr std::int64_t kCpuMax = std::int64_t{1} << 60;

  // The amounts that weigh most.
  void watch_amounts() {
    if (runnable_.empty()) return;
    const auto& amounts = runnable_.front().amounts();
    std::vector<std::int64_t> weights(amounts.size(), 0);
    for (const WorkloadClass& c : options_.classes) {
      if (c.devices == 0) continue;
      plenty_ = std::max(plenty_, 2 * std::min(c.cpu, kCpuMax));
      weights[static_cast<std::size_t>(std::ranges::lower_bound(amounts, c.each) -
                                       amounts.begin())] += c.count;
    }
    watched_.resize(amounts.size());
    std::iota(watched_.begin(), watched_.end(), std::size_t{0});
    std::ranges::stable_sort(watched_, std::greater{}, [&](std::size_t a) { return weights[a]; });
    watched_.resize(std::min(amounts.size(), kWatchedMax));
    std::ranges::sort(watched_);
  }
  // As much as any gain up to this one, however its rating was rounded.
  std::int64_t rate_at_most(std::int64_t gain) const {
    return options_.exact ? gain : rate(gain + options_.total);
  }
  std::int64_t rate(std::int64_t gain) const {
    if (options_.exact) return gain;
    const double mean = static_cast<double>(gain) / static_cast<double>(options_.total);
    return static_cast<std::int64_t>(100 * (1 / (1 + std::exp(-(mean / 1000)))));
  }

  const FragmentationOptions& options_;
  Amounts amounts_;
  std::vector<RunnableWeight> runnable_;
  std::vector<std::uint32_t> runnable_of_;  // by agent
  std::vector<std::size_t> watched_;        // of the workload's amounts
  // Processors after which it does not matter how many more there are, unless a request takes more
  // than half of them.
  std::int64_t plenty_ = 0;
};

class FragmentationGradient final : public ScoreSelector {
 public:
  explicit FragmentationGradient(FragmentationOptions options) : options_(std::move(options)) {}

  std::unique_ptr<const Rater> rater(const SchedView& view) const override {
    return std::make_unique<FragmentationRater>(options_, view);
  }

  std::uint32_t device(const SchedView& view, const Demand& demand, AgentIndex agent,
                       SlotIndex slot, std::int64_t units,
                       std::span<const std::int64_t> free) const override {
    return static_cast<const FragmentationRater*>(demand.rater)
        ->device(view, demand.requirement, agent, slot, units, free);
  }

 private:
  FragmentationOptions options_;
};

Result<WorkloadClass> read_class(const Json& object) {
  PolicyOptions reader(object);
  const auto amount = [&](const char* name, std::int64_t fallback) -> std::int64_t {
    const Json& value = reader.raw(name);
    if (value.is_null()) return fallback;
    const auto parsed =
        parse_amount(SlotType::Count, value.is_string() ? value.as_string() : value.dump());
    return parsed && !parsed->is_infinite() ? parsed->units : -1;
  };
  WorkloadClass c;
  c.count = reader.integer("count", 0, 1, kCountMax);
  c.cpu = amount("cpu", -1);
  c.devices = reader.integer("devices", 0, 0, std::int64_t{kDevicesMax});
  c.each = amount("device", c.devices > 0 ? -1 : 0);
  c.labels = reader.texts("labels");
  const auto read = reader.finish();
  const bool is_device = c.each >= 0 && c.each <= (c.devices > 0 ? kUnitsPerDevice : 0);
  if (!read || c.count < 1 || c.cpu < 0 || !is_device) {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("option \"workload\": {} is no class of a workload{}; right would be "
                    "{{\"count\": 12, \"cpu\": \"4\", \"devices\": 1, \"device\": \"0.5\"}}",
                    object.dump(), read ? std::string() : " (" + read.error().message + ")"));
  }
  return c;
}

std::unique_ptr<const Selector> make_gradient(PolicyOptions& options, bool exact) {
  FragmentationOptions read;
  read.amounts = read_amount_options(options);
  read.label = options.text("label", "gpu-model");
  read.exact = exact;
  const Json& workload = options.raw("workload");
  if (!workload.is_array() || workload.size() == 0 || workload.size() > kClassesMax) {
    options.refuse(fmt::format("option \"workload\" must be a list of 1 to {} classes of requests",
                               kClassesMax));
  }
  for (const Json& one : workload.items()) {
    auto c = read_class(one);
    if (!c) {
      options.refuse(c.error().message);
      break;
    }
    read.total += c->count;
    read.classes.push_back(std::move(*c));
  }
  return std::make_unique<FragmentationGradient>(std::move(read));
}

}  // namespace

std::unique_ptr<const Selector> make_fgd(PolicyOptions& options) {
  return make_gradient(options, false);
}
std::unique_ptr<const Selector> make_fgd_exact(PolicyOptions& options) {
  return make_gradient(options, true);
}

}  // namespace bai::sched
