// The openb trace: pods that share GPUs arrive on a cluster and never leave.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bai_manager/json.hpp"
#include "sim/batch.hpp"
#include "sim/policies.hpp"

namespace bai::sim {

inline constexpr std::int64_t kGpuMilli = 1000;  // of one device
inline constexpr std::int64_t kGpusMax = 32;     // of one node: the checksum has a bit for each

struct GpuNode {
  std::int64_t cpu_milli = 0, memory_mib = 0, gpus = 0;
  std::string model;
};

struct Pod {
  std::int64_t cpu_milli = 0, memory_mib = 0, num_gpu = 0;
  std::int64_t gpu_milli = 0;  // of each of its devices
  std::string gpu_spec;        // allowed models, "A|B"; empty: any
  std::int64_t demand() const noexcept { return num_gpu * gpu_milli; }
};

// Pods of one kind in the list that a cluster is filled from.
struct PodClass {
  std::int64_t count = 0, cpu_milli = 0, gpu_milli = 0, num_gpu = 0;
  std::string gpu_spec;
};

struct OpenbTrace {
  std::string podlist;
  std::vector<GpuNode> nodes;
  std::vector<Pod> pods;
  std::vector<std::uint32_t> node_order;   // rows of `nodes`: who goes first among equals
  std::vector<std::uint32_t> arrivals;     // rows of `pods`
  std::int64_t capacity() const noexcept;  // GPU-milli
};

Result<std::vector<GpuNode>> parse_nodes(std::string_view file, std::string_view text);
Result<std::vector<Pod>> parse_pods(std::string_view file, std::string_view text);
// "# nodes", one line of node rows, "# pods", one line of pod rows. Every node exactly once.
Status parse_stream(std::string_view file, std::string_view text, OpenbTrace& trace);

// The kinds that make up 95 % of the pods, the most frequent first.
std::vector<PodClass> target_workload(const std::vector<Pod>& pods);
Json workload_options(const std::vector<PodClass>& workload);

// GPU-milli of a node that pods of the workload cannot use, times the number of pods in it.
class Fragmentation {
 public:
  Fragmentation(const std::vector<PodClass>& workload, const std::vector<GpuNode>& nodes);
  std::int64_t of(std::size_t node, std::int64_t cpu_left,
                  const std::vector<std::int64_t>& devices_left) const;
  std::int64_t pods() const noexcept { return pods_; }

 private:
  std::vector<PodClass> classes_;
  std::vector<std::vector<bool>> allowed_;  // by class, by model
  std::vector<std::size_t> model_of_;       // by node
  std::int64_t pods_ = 0;
};

struct Decision {  // after one arrival
  std::uint32_t node = kNoNode;
  std::uint32_t devices = 0;                // bit mask
  std::int64_t arrived = 0, allocated = 0;  // GPU-milli so far
  std::int64_t cpu_allocated = 0;
  double fragmented = 0;  // GPU-milli
  static constexpr std::uint32_t kNoNode = 0xffff'ffff;
};

struct OpenbRun {
  std::string policy;
  std::optional<std::uint64_t> seed;  // of the stream, where it is known
  std::vector<Decision> decisions;
  std::int64_t placed = 0, failed = 0, failed_gpu = 0;
};

// `seed`: needed by policies that draw (PlacePolicy::draws).
Result<OpenbRun> run_openb(const OpenbTrace& trace, const PlacePolicy& policy,
                           std::optional<std::uint64_t> seed, const Progress& progress);

// Allocated share (%) after the last arrival with which at most `percent` of the capacity had
// arrived.
double allocated_at(const OpenbTrace& trace, const OpenbRun& run, std::int64_t percent);
Json to_json(const OpenbTrace& trace, const OpenbRun& run);

}  // namespace bai::sim
