// Names under which the simulator offers what the engine can do, as resource group settings.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "bai_manager/entities.hpp"
#include "bai_manager/result.hpp"

namespace bai::sim {

// Whose order the queue has: tells which starts are backfills.
enum class Rank : std::uint8_t { Submit, Estimate, None };

struct BatchPolicy {
  std::string_view name;  // "EASY-SJBF-clair"
  std::string_view scheduler;
  QueueDiscipline discipline = QueueDiscipline::HeadOfLine;
  std::string_view backfill_order;  // "": as in the queue
  Rank rank = Rank::Submit;
  bool clairvoyant = false;  // the run time is the estimate

  ResourceGroup settings() const;
};

std::span<const BatchPolicy> batch_policies();
// NotFound with the names there are. Case does not matter.
Result<const BatchPolicy*> find_batch_policy(std::string_view name);

struct PlacePolicy {
  std::string_view name;      // "FGD"
  std::string_view selector;  // "fgd"
  bool needs_workload = false;
  bool draws = false;  // from a seed
};
std::span<const PlacePolicy> place_policies();
Result<const PlacePolicy*> find_place_policy(std::string_view name);

}  // namespace bai::sim
