// The status tables, exhaustively: named sets as the reference system has them, and transitions.
#include "bai_manager/status.hpp"

#include <doctest/doctest.h>

#include <initializer_list>
#include <set>
#include <string>

namespace bai::test {

namespace {

using S = SessionStatus;
using K = KernelStatus;

template <class E>
std::vector<E> all() {
  std::vector<E> values;
  for (std::size_t i = 0; i < EnumText<E>::names.size(); ++i) values.push_back(static_cast<E>(i));
  return values;
}

template <class E>
std::set<E> all_minus(std::initializer_list<E> without) {
  const auto every = all<E>();
  std::set<E> set(every.begin(), every.end());
  for (const E value : without) set.erase(value);
  return set;
}

template <class E>
std::set<E> where(bool (*holds)(E) noexcept) {
  std::set<E> set;
  for (const E value : all<E>()) {
    if (holds(value)) set.insert(value);
  }
  return set;
}

template <class E>
void check_enum() {
  for (const E value : all<E>()) {
    const std::string text(to_string(value));
    CHECK(parse_enum<E>(text) == value);
    std::string other = text;
    for (char& c : other) c = c == '_' ? '-' : static_cast<char>(std::tolower(c));
    CHECK(parse_enum<E>(other) == value);
    CHECK_FALSE(parse_enum<E>(text + "x").has_value());
  }
  CHECK_FALSE(parse_enum<E>("").has_value());
}

}  // namespace

TEST_CASE("every enumeration reads what it writes") {
  check_enum<SessionStatus>();
  check_enum<KernelStatus>();
  check_enum<AgentStatus>();
  check_enum<SessionType>();
  check_enum<SessionResult>();
  check_enum<ClusterMode>();
  check_enum<UserRole>();
  check_enum<UserStatus>();
  check_enum<UnspecifiedLimit>();
  check_enum<ScopeKind>();
  check_enum<QueueDiscipline>();
  check_enum<OperationStatus>();
  check_enum<SchedulingResult>();
  CHECK(EnumText<SessionStatus>::names.size() == 17);
  CHECK(EnumText<KernelStatus>::names.size() == 16);
}

TEST_CASE("the named sets of session statuses") {
  CHECK(where<S>(is_terminal) == std::set{S::Error, S::Terminated, S::Cancelled});
  CHECK(where<S>(occupies_resources) ==
        all_minus({S::Pending, S::Deprioritizing, S::Preempted, S::Rescheduling, S::Terminated,
                   S::Cancelled, S::Error}));
  CHECK(where<S>(is_terminatable) ==
        all_minus({S::Terminating, S::Terminated, S::Cancelled, S::Error}));
  CHECK(where<S>(is_force_terminatable) == all_minus({S::Terminated, S::Cancelled, S::Error}));
}

TEST_CASE("the named sets of kernel statuses") {
  const std::set<K> pre_prepared = {K::Pending,   K::Reserved, K::Scheduled,
                                    K::Preparing, K::Building, K::Pulling};
  std::set<K> pre_running = pre_prepared;
  pre_running.insert({K::Prepared, K::Creating});
  CHECK(where<K>(is_terminal) == std::set{K::Error, K::Terminated, K::Cancelled});
  CHECK(where<K>(holds_resources) == std::set{K::Running, K::Terminating, K::Reserved, K::Scheduled,
                                              K::Preparing, K::Pulling, K::Prepared, K::Creating});
  CHECK(where<K>(is_pre_prepared) == pre_prepared);
  CHECK(where<K>(is_pre_running) == pre_running);
  CHECK(where<K>(is_terminatable) ==
        all_minus({K::Pending, K::Terminating, K::Terminated, K::Cancelled, K::Error}));
  CHECK(where<K>(is_force_terminatable) ==
        all_minus({K::Pending, K::Terminated, K::Cancelled, K::Error}));
}

TEST_CASE("nothing follows a terminal status, and no status follows itself") {
  for (const S from : all<S>()) {
    for (const S to : all<S>()) {
      if (is_terminal(from) || from == to) CHECK_FALSE(can_become(from, to));
      // What a session has once left behind comes back only by waiting again.
      if (can_become(from, to) && to == S::Scheduled)
        CHECK((from == S::Pending || from == S::Reserved));
      if (can_become(from, to) && to == S::Running) CHECK(from == S::Creating);
      if (can_become(from, to) && from == S::Terminating) CHECK(to == S::Terminated);
    }
  }
  for (const K from : all<K>()) {
    for (const K to : all<K>()) {
      const bool repeats_pull = from == K::Pulling && to == K::Pulling;
      if (is_terminal(from)) CHECK_FALSE(can_become(from, to));
      if (from == to && !repeats_pull) CHECK_FALSE(can_become(from, to));
      if (can_become(from, to) && to == K::Running)
        CHECK((from == K::Prepared || from == K::Creating));
    }
  }
}

TEST_CASE("whatever may be ended can be ended: H25, H26 and all other statuses") {
  for (const S from : all<S>()) {
    CAPTURE(to_string(from));
    if (from == S::Pending || from == S::Deprioritizing) {
      CHECK(can_become(from, S::Cancelled));
      continue;
    }
    if (is_terminatable(from)) CHECK(can_become(from, S::Terminating));
    if (is_force_terminatable(from)) CHECK(can_become(from, S::Terminated));
  }
  for (const K from : all<K>()) {
    CAPTURE(to_string(from));
    if (is_terminatable(from)) CHECK(can_become(from, K::Terminating));
    if (is_force_terminatable(from)) CHECK(can_become(from, K::Terminated));
  }
  CHECK(can_become(K::Pending, K::Cancelled));
  CHECK_FALSE(is_terminal(S::Preempted));  // H25
  CHECK_FALSE(occupies_resources(S::Preempted));
  for (const S to : {S::Terminating, S::Terminated, S::Pending})
    CHECK(can_become(S::Preempted, to));
  CHECK(is_terminal(S::Error));  // H26
  CHECK_FALSE(occupies_resources(S::Error));
}

TEST_CASE("every way up leads from waiting to running") {
  const auto chain = {S::Pending,  S::Scheduled, S::Preparing,   S::Prepared,
                      S::Creating, S::Running,   S::Terminating, S::Terminated};
  for (auto at = chain.begin(); at + 1 != chain.end(); ++at) CHECK(can_become(at[0], at[1]));
  const auto kernel = {K::Pending,  K::Scheduled, K::Preparing,   K::Pulling,
                       K::Prepared, K::Running,   K::Terminating, K::Terminated};
  for (auto at = kernel.begin(); at + 1 != kernel.end(); ++at) CHECK(can_become(at[0], at[1]));
  // The guards of agents' events: started from PREPARED and CREATING, creating from PULLING.
  CHECK(can_become(K::Pulling, K::Creating));
  CHECK_FALSE(can_become(K::Scheduled, K::Running));
  CHECK_FALSE(can_become(K::Scheduled, K::Creating));
}

}  // namespace bai::test
