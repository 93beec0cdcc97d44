// What domains, projects and users have used of resource groups: the FairShare rows, and what
// kernels that run have used since they started. Adding and removing a kernel is O(its slots);
// a factor is O(slots) unless something of its scope has changed since it was last asked for, and
// O(1) while nothing of it runs.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bai_manager/entities.hpp"
#include "sched/agent_table.hpp"
#include "sched/change_log.hpp"
#include "sched/fair_share.hpp"
#include "sched/intern.hpp"

namespace bai::sched {

// What the factors of one pass are computed with.
struct FairShareMoment {
  Timestamp now;
  std::uint64_t version = 0;                 // of the mirror: capacities belong to it
  std::span<const std::int64_t> capacities;  // of the resource group, by slot
  std::span<const SlotType> types;           // by slot
};

// The scopes of one resource group. Factors may be asked for on another thread than other groups'.
class GroupShares {
 public:
  using Scopes = std::array<std::uint32_t, 3>;  // domain, project, user

  Scopes scopes_of(const Owner& owner);
  void set_row(const FairShare& row, Names& slots);
  void forget_row(const FairShare& row);
  // A kernel of the scopes' that runs since `start` with `amounts`; `sign` is 1 or -1.
  void count_running(const Scopes& scopes, Timestamp start, const SlotMap& amounts, Names& slots,
                     int sign);

  // `owner` is the mirror's number of what `names` says.
  FairShareFactors factors(std::uint32_t owner, const Owner& names,
                           const FairShareSettings& settings, const FairShareMoment& moment,
                           const Names& slots);
  // The same in parts. What the calls below go by:
  void prepare(const FairShareSettings& settings, const FairShareMoment& moment,
               const Names& slots);
  const Scopes& scopes(std::uint32_t owner, const Owner& names);
  std::int32_t factor(std::uint32_t scope, const FairShareMoment& moment) {
    return factor(scopes_[scope], moment);
  }
  // Whether its factor falls as time passes, the rest being equal: something of it runs. As of the
  // last call of factor().
  bool falls(std::uint32_t scope) const {
    return scopes_[scope].has_row && !scopes_[scope].is_still;
  }
  // Differs when all factors may.
  std::pair<std::uint64_t, std::uint64_t> revision() const noexcept {
    return {revision_, capacities_revision_};
  }
  // Scopes of which a row or what runs has changed; the owners that a user's scope is of, as far
  // as scopes() was asked about them.
  const ChangeLog<std::uint32_t>& changes() const noexcept { return changes_; }
  // The same of projects, by the teams that they are of.
  const ChangeLog<std::uint64_t>& team_changes() const noexcept { return team_changes_; }
  // Owners of one project in one domain.
  static std::uint64_t team_of(const Scopes& scopes) noexcept {
    return std::uint64_t{scopes[0]} << 32 | scopes[1];
  }
  const std::vector<std::uint32_t>& owners_of(std::uint32_t scope) const {
    return scopes_[scope].owners;
  }
  // By name: the row and what runs, for the mirror's dump.
  std::map<std::string, std::string> dump(const Names& slots) const;

 private:
  struct Started {  // kernels that started on one day and run
    std::vector<std::int64_t> units;
    std::vector<Int128> units_ns;  // each one's units times its start
  };
  struct Line {  // of one slot: past + (slope * now - offset) of today
    double past = 0;
    Int128 slope = 0, offset = 0;
  };
  struct Scope {
    bool has_row = false;
    std::optional<std::int64_t> weight_milli;
    std::map<std::int64_t, std::vector<std::int64_t>> ended;  // by day and slot
    std::map<std::int64_t, Started> started;                  // by day
    std::vector<std::uint32_t> owners;                        // of a user's scope
    std::vector<std::uint64_t> teams;                         // of a project's
    // derived
    std::uint64_t lines_revision = 0;  // of the settings; 0: stale
    std::int64_t lines_day = 0;
    std::vector<Line> lines;  // by slot
    bool is_still = false;    // nothing of it runs: today adds nothing
    std::uint64_t factor_revision = 0, factor_capacities = 0;
    Timestamp factor_now;
    std::int32_t factor = 0;
  };

  std::uint32_t scope_of(ScopeKind kind, std::string_view scope);
  void touch(std::uint32_t scope);
  void use(const FairShareSettings& settings);
  void refresh_lines(Scope& scope, std::int64_t today);
  void add_started(Scope& scope, std::int64_t today);
  std::int32_t factor(Scope& scope, const FairShareMoment& moment);

  std::unordered_map<std::string, std::uint32_t> index_;
  std::deque<Scope> scopes_;
  std::vector<Scopes> by_owner_;
  ChangeLog<std::uint32_t> changes_;
  ChangeLog<std::uint64_t> team_changes_;
  FairShareSettings settings_;
  std::uint64_t revision_ = 0;
  std::vector<std::int64_t> weights_;      // of slots, in thousandths, by `settings_`
  std::vector<SlotUsage> usage_;           // working space
  std::vector<SlotType> types_;            // of slots, of the moment asked about last
  std::vector<std::int64_t> capacities_;   // the same
  std::uint64_t capacities_revision_ = 1;  // differs when they do
  std::uint64_t version_ = 0;              // of the mirror, when they were compared last
};

}  // namespace bai::sched
