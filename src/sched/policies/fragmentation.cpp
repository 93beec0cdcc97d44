// Fragmentation gradient descent: the agent (and device) on which the expected amount of devices
// that the usual workload cannot use grows least.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

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
    return (amount * (levels_.size() + 1) + level) * (kDevicesMax + 1) + devices;
  }
  std::vector<std::int64_t> amounts_, levels_, weights_;
};

// Amounts of devices that the workload cannot use, times the workload's total count.
std::int64_t fragmented(const RunnableWeight& runnable, std::int64_t total, std::size_t level,
                        std::span<const std::int64_t> left) {
  std::int64_t all = 0;
  for (const std::int64_t l : left) all += l;
  std::int64_t usable = 0;
  for (std::size_t a = 0; a < runnable.amounts().size(); ++a) {
    const std::int64_t amount = runnable.amounts()[a];
    std::int64_t large = 0;
    std::size_t count = 0;
    for (const std::int64_t l : left) {
      const bool fits = l >= amount;
      large += fits ? l : 0;
      count += fits ? 1 : 0;
    }
    usable += large * runnable.weight(a, count, level);
  }
  return total * all - usable;
}

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
  }

  std::int64_t score(const SchedView& view, const Requirement& requirement,
                     AgentIndex agent) const override {
    const auto devices = amounts_.devices(view, agent);
    std::array<std::int64_t, kDevicesMax> copy;
    std::ranges::copy(devices, copy.begin());
    const std::span<std::int64_t> left(copy.data(), devices.size());
    const std::int64_t before = now(view, agent, left);
    const std::size_t level = level_after(view, requirement, agent);
    std::int64_t wanted = amounts_.device(requirement);
    for (std::size_t i = 0; i < left.size() && wanted >= kUnitsPerDevice; ++i) {
      if (left[i] < kUnitsPerDevice) continue;
      left[i] -= kUnitsPerDevice;
      wanted -= kUnitsPerDevice;
    }
    const RunnableWeight& runnable = runnable_[runnable_of_[agent]];
    if (wanted == 0) return rate(before - fragmented(runnable, options_.total, level, left));
    std::int64_t least = std::numeric_limits<std::int64_t>::max(), seen = -1;
    for (std::size_t i = 0; i < left.size(); ++i) {
      if (left[i] < wanted || left[i] == seen) continue;
      seen = left[i];
      left[i] -= wanted;
      least = std::min(least, fragmented(runnable, options_.total, level, left));
      left[i] += wanted;
    }
    return rate(before - least);
  }

  // The first of the devices with the highest score. `free` is what they have after the whole ones
  // of the same request were taken.
  std::uint32_t device(const SchedView& view, const Requirement& requirement, AgentIndex agent,
                       SlotIndex slot, std::int64_t units,
                       std::span<const std::int64_t> free) const {
    if (!amounts_.is_device(slot)) return tightest_device(units, free);
    std::array<std::int64_t, kDevicesMax> copy;
    std::ranges::copy(free, copy.begin());
    const std::span<std::int64_t> left(copy.data(), free.size());
    const std::int64_t before = now(view, agent, amounts_.devices(view, agent));
    const std::size_t level = level_after(view, requirement, agent);
    std::uint32_t best = 0;
    std::optional<std::int64_t> best_score;
    for (std::uint32_t i = 0; i < left.size(); ++i) {
      if (left[i] < units) continue;
      left[i] -= units;
      const std::int64_t score =
          rate(before - fragmented(runnable_[runnable_of_[agent]], options_.total, level, left));
      left[i] += units;
      if (best_score && score <= *best_score) continue;
      best_score = score;
      best = i;
    }
    return best;
  }

 private:
  std::int64_t now(const SchedView& view, AgentIndex agent,
                   std::span<const std::int64_t> left) const {
    const RunnableWeight& runnable = runnable_[runnable_of_[agent]];
    return fragmented(runnable, options_.total, runnable.level_of(amounts_.free_cpu(view, agent)),
                      left);
  }
  std::size_t level_after(const SchedView& view, const Requirement& requirement,
                          AgentIndex agent) const {
    return runnable_[runnable_of_[agent]].level_of(amounts_.free_cpu(view, agent) -
                                                   amounts_.cpu(requirement));
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
  const auto amount = [&](const char* name) -> std::int64_t {
    const Json& value = object[name];
    const auto parsed =
        parse_amount(SlotType::Count, value.is_string() ? value.as_string() : value.dump());
    return parsed && !parsed->is_infinite() ? parsed->units : -1;
  };
  WorkloadClass c;
  c.count = object["count"].as_int(-1);
  c.cpu = amount("cpu");
  c.devices = object["devices"].as_int(0);
  c.each = c.devices > 0 ? amount("device") : 0;
  for (const Json& label : object["labels"].items()) c.labels.emplace_back(label.as_string());
  if (c.count < 1 || c.count > kCountMax || c.cpu < 0 || c.devices < 0 ||
      c.devices > std::int64_t{kDevicesMax} || c.each < 0 || c.each > kUnitsPerDevice) {
    return fail(
        ErrorCode::InvalidArgument,
        fmt::format("option \"workload\": {} is no class of a workload; right would be "
                    "{{\"count\": 12, \"cpu\": \"4\", \"devices\": 1, \"device\": \"0.5\"}}",
                    object.dump()));
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
