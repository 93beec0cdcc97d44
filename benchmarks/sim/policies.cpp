#include "sim/policies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

namespace bai::sim {

namespace {

using enum QueueDiscipline;

constexpr auto kBatchPolicies = std::to_array<BatchPolicy>({
    {"FCFS", "fifo", HeadOfLine, "", Rank::Submit, false},
    {"EASY", "fifo", Easy, "", Rank::Submit, false},
    {"EASY-clair", "fifo", Easy, "", Rank::Submit, true},
    {"EASY-SJBF", "fifo", Easy, "shortest", Rank::Submit, false},
    {"EASY-SJBF-clair", "fifo", Easy, "shortest", Rank::Submit, true},
    {"SJF", "sjf", HeadOfLine, "", Rank::Estimate, false},
    {"SJF-EASY", "sjf", Easy, "", Rank::Estimate, false},
    {"SJF-EASY-clair", "sjf", Easy, "", Rank::Estimate, true},
    {"Conservative", "fifo", Conservative, "", Rank::Submit, false},
    {"Conservative-clair", "fifo", Conservative, "", Rank::Submit, true},
    {"Skip-ahead", "fifo", SkipAhead, "", Rank::Submit, false},
    {"LIFO", "lifo", HeadOfLine, "", Rank::None, false},
    {"DRF", "drf", HeadOfLine, "", Rank::None, false},
});

constexpr auto kPlacePolicies = std::to_array<PlacePolicy>({
    {"FGD", "fgd", true, false},
    {"FGDx", "fgdx", true, false},
    {"BestFit", "bestfit", false, false},
    {"BestFitX", "bestfitx", false, false},
    {"WorstFit", "worstfit", false, false},
    {"WorstFitX", "worstfitx", false, false},
    {"DotProd", "dotprod", false, false},
    {"GpuClustering", "gpuclustering", false, false},
    {"GpuPacking", "gpupacking", false, false},
    {"FirstFit", "firstfit", false, false},
    {"Random", "random", false, true},
});

bool same_name(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::ranges::equal(a, b, {}, lower, lower);
}

template <class Table>
auto find_in(const Table& table, std::string_view name)
    -> Result<const typename Table::value_type*> {
  std::vector<std::string_view> names;
  for (const auto& policy : table) {
    if (same_name(policy.name, name)) return &policy;
    names.push_back(policy.name);
  }
  return fail(ErrorCode::NotFound, fmt::format("There is no policy \"{}\"; there are: {}.", name,
                                               fmt::join(names, ", ")));
}

}  // namespace

ResourceGroup BatchPolicy::settings() const {
  ResourceGroup group;
  group.name = ResourceGroupName("sim");
  group.scheduler = scheduler;
  group.selector = "concentrated";
  group.queue_discipline = discipline;
  // No limits, dependencies or start times in a log: nothing for a validator to look at.
  group.policy_options.set("validators", Json::array());
  if (!backfill_order.empty()) group.policy_options.set("backfill_order", backfill_order);
  return group;
}

std::span<const BatchPolicy> batch_policies() { return kBatchPolicies; }
std::span<const PlacePolicy> place_policies() { return kPlacePolicies; }

Result<const BatchPolicy*> find_batch_policy(std::string_view name) {
  return find_in(kBatchPolicies, name);
}
Result<const PlacePolicy*> find_place_policy(std::string_view name) {
  return find_in(kPlacePolicies, name);
}

}  // namespace bai::sim
