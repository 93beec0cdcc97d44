// A cluster on virtual time: the manager's own state, accounting and planner, without agents,
// storage and threads. What the planner places runs at once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/entities.hpp"
#include "model/changeset.hpp"
#include "sched/planner.hpp"

namespace bai::sim {

// Virtual time 0 as a timestamp (which must not be 0).
inline constexpr Timestamp kEpoch{seconds(1'000'000'000).ns};
constexpr Timestamp at_second(std::int64_t second) { return kEpoch + seconds(second); }

// What is asked for; sessions are numbered by the caller, in order of ties.
struct Work {
  std::uint32_t number = 0;
  std::int64_t submit = 0;               // second
  std::optional<std::int64_t> estimate;  // seconds
  SlotMap slots;                         // of each kernel
  std::int64_t kernels = 1;
  std::uint32_t owner = 0;
  std::string model;  // allowed values of the label kModelLabel, "A|B"; empty: any
};
inline constexpr const char* kModelLabel = "gpu-model";
inline constexpr const char* kShareSlot = "cuda.shares";

struct Grant {                                                  // of one kernel
  std::uint32_t agent = 0;                                      // as numbered by add_agent
  std::vector<std::pair<std::uint32_t, std::int64_t>> devices;  // device, units of kShareSlot
};
struct Start {
  std::uint32_t number = 0;
  std::vector<Grant> kernels;
};

struct Capacity {
  SlotMap slots;
  std::vector<std::int64_t> devices;  // units of each device of kShareSlot
  std::string model;
};

class Cluster {
 public:
  // InvalidArgument or NotFound when the settings name policies or options that do not exist.
  static Result<std::unique_ptr<Cluster>> create(const ResourceGroup& settings);

  // Agents take precedence in the order in which they are added.
  std::uint32_t add_agent(const Capacity& capacity);
  void submit(const Work& work);
  void finish(std::uint32_t number);    // a running one; its row is gone afterwards
  void withdraw(std::uint32_t number);  // a pending one

  // One pass: what starts now. Internal when the planner fails or grants what is not free.
  Result<std::vector<Start>> pass(std::int64_t now, std::uint64_t seed);

  const State& state() const noexcept { return state_; }
  std::string check() const;  // empty when sums and invariants hold

 private:
  explicit Cluster(std::shared_ptr<const PolicyRegistry> policies);
  Result<Start> start(const Placement& placement, std::int64_t now);
  void feed();
  void remove(std::uint32_t number, SessionStatus last);

  State state_;
  Changeset changes_{state_};
  Planner planner_;
  std::uint64_t version_ = 0;
  std::uint32_t agents_ = 0;
};

}  // namespace bai::sim
