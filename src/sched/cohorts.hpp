// Which projects lend each other what they do not use of their slots.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bai_manager/policy.hpp"
#include "sched/intern.hpp"

namespace bai::sched {

class Cohorts {
 public:
  struct Member {
    std::uint32_t scope = 0;                                    // Mirror::scope
    std::vector<std::pair<SlotIndex, std::int64_t>> nominal{};  // its own slots, where limited
  };
  using Members = std::map<ProjectId, Member>;

  // One of the rows may be null. `scope`: of the project.
  void on_project(const Project* before, const Project* after, std::uint32_t scope, Names& slots);

  bool any() const noexcept { return !cohorts_.empty(); }
  // Null: no project names it.
  const Members* members(const std::string& cohort) const {
    const auto it = cohorts_.find(cohort);
    return it == cohorts_.end() ? nullptr : &it->second;
  }

 private:
  std::map<std::string, Members> cohorts_;  // none is empty
};

}  // namespace bai::sched
