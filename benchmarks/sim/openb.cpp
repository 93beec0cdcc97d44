#include "sim/openb.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "sim/numbers.hpp"

namespace bai::sim {

namespace {

constexpr std::size_t kProgressEvery = 256;  // arrivals
constexpr std::int64_t kMiB = std::int64_t{1} << 20;
constexpr auto kReported = std::to_array<std::int64_t>({80, 90, 95, 100, 105, 110, 120, 130});

std::vector<std::string_view> split_models(std::string_view spec) {
  std::vector<std::string_view> models;
  if (spec.empty()) return models;
  for (;;) {
    const auto bar = spec.find('|');
    models.push_back(spec.substr(0, bar));
    if (bar == spec.npos) return models;
    spec.remove_prefix(bar + 1);
  }
}

Capacity capacity_of(const GpuNode& node) {
  Capacity capacity;
  capacity.slots.set("cpu", Amount{node.cpu_milli});
  capacity.slots.set("mem", Amount{node.memory_mib * kMiB});
  if (node.gpus > 0) {
    capacity.slots.set(kShareSlot, Amount{node.gpus * kGpuMilli});
    capacity.devices.assign(static_cast<std::size_t>(node.gpus), kGpuMilli);
  }
  capacity.model = node.model;
  return capacity;
}

Work work_of(const Pod& pod, std::uint32_t number) {
  Work work;
  work.number = number;
  work.submit = number;
  work.slots.set("cpu", Amount{pod.cpu_milli});
  work.slots.set("mem", Amount{pod.memory_mib * kMiB});
  if (pod.num_gpu > 0) {
    work.slots.set(kShareSlot, Amount{pod.demand()});
    work.model = pod.gpu_spec;
  }
  return work;
}

// What the measurements need of the cluster; also checks every grant.
class Measured {
 public:
  Measured(const OpenbTrace& trace, const std::vector<PodClass>& workload)
      : trace_(trace), fragmentation_(workload, trace.nodes) {
    for (const GpuNode& node : trace.nodes) {
      left_.push_back({node.cpu_milli, node.memory_mib,
                       std::vector<std::int64_t>(static_cast<std::size_t>(node.gpus), kGpuMilli)});
      fragmented_.push_back(0);
      refresh(left_.size() - 1);
    }
  }

  // The mask of the devices. Internal when the grant is not what the pod asks for.
  Result<std::uint32_t> take(std::uint32_t row, const Pod& pod, const Grant& grant) {
    Left& left = left_[row];
    left.cpu -= pod.cpu_milli;
    left.memory -= pod.memory_mib;
    std::uint32_t mask = 0;
    std::int64_t given = 0;
    bool fine = left.cpu >= 0 && left.memory >= 0 &&
                static_cast<std::int64_t>(grant.devices.size()) == pod.num_gpu;
    for (const auto& [device, units] : grant.devices) {
      if (device >= left.devices.size() || units != pod.gpu_milli) {
        fine = false;
        break;
      }
      left.devices[device] -= units;
      fine = fine && left.devices[device] >= 0 && (mask >> device & 1) == 0;
      mask |= 1U << device;
      given += units;
    }
    if (!fine || given != pod.demand()) {
      return fail(ErrorCode::Internal,
                  fmt::format("The plan grants on node row {} what is not free there.", row));
    }
    refresh(row);
    return mask;
  }

  double fragmented() const {  // GPU-milli
    return static_cast<double>(sum_) / static_cast<double>(fragmentation_.pods());
  }

 private:
  struct Left {
    std::int64_t cpu = 0, memory = 0;
    std::vector<std::int64_t> devices;
  };
  void refresh(std::size_t row) {
    sum_ -= fragmented_[row];
    fragmented_[row] = fragmentation_.of(row, left_[row].cpu, left_[row].devices);
    sum_ += fragmented_[row];
  }

  const OpenbTrace& trace_;
  Fragmentation fragmentation_;
  std::vector<Left> left_;  // by node row
  std::vector<std::int64_t> fragmented_;
  std::int64_t sum_ = 0;
};

ResourceGroup settings_of(const PlacePolicy& policy, const std::vector<PodClass>& workload) {
  ResourceGroup group;
  group.name = ResourceGroupName("sim");
  group.selector = policy.selector;
  group.policy_options.set("validators", Json::array());
  if (policy.needs_workload) group.policy_options.set("selector", workload_options(workload));
  return group;
}

}  // namespace

std::int64_t OpenbTrace::capacity() const noexcept {
  return std::accumulate(nodes.begin(), nodes.end(), std::int64_t{0},
                         [](std::int64_t sum, const GpuNode& n) { return sum + n.gpus; }) *
         kGpuMilli;
}

Json workload_options(const std::vector<PodClass>& workload) {
  Json classes = Json::array();
  for (const PodClass& c : workload) {
    Json one = Json::object({{"count", c.count},
                             {"cpu", format_amount(SlotType::Count, Amount{c.cpu_milli})},
                             {"device", format_amount(SlotType::Count, Amount{c.gpu_milli})},
                             {"devices", c.num_gpu}});
    Json labels = Json::array();
    for (const std::string_view model : split_models(c.gpu_spec)) labels.push_back(model);
    if (labels.size() > 0) one.set("labels", std::move(labels));
    classes.push_back(std::move(one));
  }
  return Json::object({{"workload", std::move(classes)}});
}

Fragmentation::Fragmentation(const std::vector<PodClass>& workload,
                             const std::vector<GpuNode>& nodes)
    : classes_(workload) {
  std::map<std::string_view, std::size_t> models;
  for (const GpuNode& node : nodes) {
    model_of_.push_back(models.try_emplace(node.model, models.size()).first->second);
  }
  for (const PodClass& c : classes_) {
    std::vector<bool> allowed(models.size(), c.gpu_spec.empty());
    for (const std::string_view model : split_models(c.gpu_spec)) {
      if (const auto at = models.find(model); at != models.end()) allowed[at->second] = true;
    }
    allowed_.push_back(std::move(allowed));
    pods_ += c.count;
  }
}

std::int64_t Fragmentation::of(std::size_t node, std::int64_t cpu_left,
                               const std::vector<std::int64_t>& devices_left) const {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < classes_.size(); ++i) {
    const PodClass& c = classes_[i];
    std::int64_t all = 0, too_small = 0, fitting = 0;
    for (const std::int64_t left : devices_left) {
      all += left;
      if (left >= c.gpu_milli) {
        ++fitting;
      } else {
        too_small += left;
      }
    }
    const bool runs = c.num_gpu > 0 && fitting >= c.num_gpu && cpu_left >= c.cpu_milli &&
                      allowed_[i][model_of_[node]];
    sum += c.count * (runs ? too_small : all);
  }
  return sum;
}

Result<OpenbRun> run_openb(const OpenbTrace& trace, const PlacePolicy& policy,
                           std::optional<std::uint64_t> seed, const Progress& progress) {
  if (policy.draws && !seed) {
    return fail(ErrorCode::InvalidArgument, fmt::format("Policy {} needs a seed.", policy.name));
  }
  const auto workload = target_workload(trace.pods);
  auto created = Cluster::create(settings_of(policy, workload));
  if (!created) return std::unexpected(created.error());
  Cluster& cluster = **created;
  for (const std::uint32_t row : trace.node_order) cluster.add_agent(capacity_of(trace.nodes[row]));
  Measured measured(trace, workload);
  OpenbRun run;
  run.policy = policy.name;
  run.seed = seed;
  run.decisions.reserve(trace.arrivals.size());
  Decision now;
  for (std::uint32_t k = 0; k < trace.arrivals.size(); ++k) {
    if (progress && k % kProgressEvery == 0) progress(k, trace.arrivals.size(), 0);
    const Pod& pod = trace.pods[trace.arrivals[k]];
    cluster.submit(work_of(pod, k));
    const auto starts = cluster.pass(k, seed.value_or(0));
    if (!starts) return std::unexpected(starts.error());
    now.node = Decision::kNoNode;
    now.devices = 0;
    now.arrived += pod.demand();
    if (starts->empty()) {
      cluster.withdraw(k);
      ++run.failed;
      if (pod.num_gpu > 0) ++run.failed_gpu;
    } else {
      const Grant& grant = starts->front().kernels.front();
      now.node = trace.node_order[grant.agent];
      const auto mask = measured.take(now.node, pod, grant);
      if (!mask) return std::unexpected(mask.error());
      now.devices = *mask;
      now.allocated += pod.demand();
      now.cpu_allocated += pod.cpu_milli;
      ++run.placed;
    }
    now.fragmented = measured.fragmented();
    run.decisions.push_back(now);
  }
  if (auto wrong = cluster.check(); !wrong.empty()) {
    return fail(ErrorCode::Internal, fmt::format("After the last pod: {}.", wrong));
  }
  return run;
}

double allocated_at(const OpenbTrace& trace, const OpenbRun& run, std::int64_t percent) {
  const std::int64_t capacity = trace.capacity();
  std::int64_t allocated = 0;
  for (const Decision& d : run.decisions) {
    if (d.arrived * 100 > percent * capacity) break;
    allocated = d.allocated;
  }
  return 100.0 * static_cast<double>(allocated) / static_cast<double>(capacity);
}

Json to_json(const OpenbTrace& trace, const OpenbRun& run) {
  const Decision& last = run.decisions.back();
  Fnv64 hash;
  for (std::uint32_t k = 0; k < run.decisions.size(); ++k) {
    hash.add(k);
    hash.add(run.decisions[k].node);
    hash.add(run.decisions[k].devices);
  }
  Json row = Json::object({{"podlist", trace.podlist},
                           {"policy", run.policy},
                           {"seed", run.seed ? Json(static_cast<std::int64_t>(*run.seed)) : Json()},
                           {"arrivals", static_cast<std::int64_t>(run.decisions.size())},
                           {"placed", run.placed},
                           {"failed", run.failed},
                           {"failed_gpu", run.failed_gpu},
                           {"used_milli", last.allocated}});
  for (const std::int64_t percent : kReported) {
    row.set(fmt::format("alloc{}", percent), rounded(allocated_at(trace, run, percent), 4));
  }
  const auto idle = static_cast<double>(trace.capacity() - last.allocated);
  row.set("frag_pct_of_idle", idle > 0 ? rounded(100.0 * last.fragmented / idle, 3) : 0.0);
  row.set("fnv64", hash.hex());
  return row;
}

}  // namespace bai::sim
