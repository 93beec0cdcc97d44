#include "bai_manager/status.hpp"

#include <initializer_list>

namespace bai {

namespace {

constexpr char fold(char c) noexcept {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '_' ? '-' : c;
}

// Sets of enumerators as bits: every enumeration here has fewer than 32 values.
template <class E>
constexpr std::uint32_t bits(std::initializer_list<E> values) noexcept {
  std::uint32_t set = 0;
  for (const E v : values) set |= 1U << static_cast<unsigned>(v);
  return set;
}
template <class E>
constexpr bool in(std::uint32_t set, E value) noexcept {
  return ((set >> static_cast<unsigned>(value)) & 1U) != 0;
}

using S = SessionStatus;
using K = KernelStatus;

constexpr auto kSessionTerminal = bits({S::Error, S::Terminated, S::Cancelled});
constexpr auto kSessionNotOccupying =
    bits({S::Pending, S::Deprioritizing, S::Preempted, S::Rescheduling, S::Terminated, S::Cancelled,
          S::Error});
constexpr auto kKernelTerminal = bits({K::Error, K::Terminated, K::Cancelled});
constexpr auto kKernelHolding = bits({K::Running, K::Terminating, K::Reserved, K::Scheduled,
                                      K::Preparing, K::Pulling, K::Prepared, K::Creating});
constexpr auto kKernelPrePrepared =
    bits({K::Pending, K::Reserved, K::Scheduled, K::Preparing, K::Building, K::Pulling});

// Rows: from; bits: to. A status that nothing produces can still be ended.
constexpr std::uint32_t session_targets(S from) noexcept {
  switch (from) {
    case S::Pending:
      return bits({S::Scheduled, S::Reserved, S::Deprioritizing, S::Cancelled, S::Terminating,
                   S::Terminated});
    case S::Deprioritizing:
      return bits({S::Pending, S::Terminating, S::Terminated, S::Cancelled});
    case S::Reserved:
      return bits({S::Scheduled, S::Pending, S::Terminating, S::Terminated, S::Cancelled});
    case S::Scheduled:
      return bits(
          {S::Preparing, S::Prepared, S::Pending, S::Terminating, S::Terminated, S::Cancelled});
    case S::Preparing:
    case S::Pulling:
      return bits({S::Prepared, S::Pending, S::Terminating, S::Terminated, S::Cancelled});
    case S::Prepared:
      return bits({S::Creating, S::Pending, S::Terminating, S::Terminated, S::Cancelled});
    case S::Creating:
      return bits({S::Running, S::Pending, S::Terminating, S::Terminated, S::Cancelled});
    case S::Running:
      return bits({S::Terminating, S::Terminated, S::Preempted, S::Pending});
    case S::Preempted:
      return bits({S::Terminating, S::Terminated, S::Rescheduling, S::Pending});
    case S::Rescheduling:
      return bits({S::Pending, S::Terminating, S::Terminated});
    case S::Restarting:
    case S::RunningDegraded:
      return bits({S::Terminating, S::Terminated});
    case S::Terminating:
      return bits({S::Terminated});
    default:
      return 0;
  }
}

constexpr std::uint32_t kernel_targets(K from) noexcept {
  switch (from) {
    case K::Pending:
      return bits({K::Scheduled, K::Reserved, K::Cancelled, K::Terminated});
    case K::Reserved:
      return bits({K::Scheduled, K::Pending, K::Terminating, K::Terminated, K::Cancelled});
    case K::Scheduled:
      return bits({K::Preparing, K::Pulling, K::Prepared, K::Pending, K::Cancelled, K::Terminating,
                   K::Terminated});
    case K::Preparing:
    case K::Pulling:
      return bits({K::Pulling, K::Prepared, K::Creating, K::Pending, K::Cancelled, K::Terminating,
                   K::Terminated});
    case K::Prepared:
      return bits(
          {K::Creating, K::Running, K::Pending, K::Cancelled, K::Terminating, K::Terminated});
    case K::Creating:
      return bits({K::Running, K::Pending, K::Cancelled, K::Terminating, K::Terminated});
    case K::Running:
      return bits({K::Terminating, K::Terminated, K::Pending});
    case K::Terminating:
      return bits({K::Terminated, K::Pending});
    case K::Building:
    case K::Restarting:
    case K::Resizing:
    case K::Suspended:
      return bits({K::Terminating, K::Terminated});
    default:
      return 0;
  }
}

}  // namespace

std::optional<std::size_t> find_enum_name(std::span<const std::string_view> names,
                                          std::string_view text) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string_view name = names[i];
    if (name.size() != text.size()) continue;
    std::size_t at = 0;
    while (at < name.size() && fold(name[at]) == fold(text[at])) ++at;
    if (at == name.size()) return i;
  }
  return std::nullopt;
}

bool is_terminal(S s) noexcept { return in(kSessionTerminal, s); }
bool occupies_resources(S s) noexcept { return !in(kSessionNotOccupying, s); }
bool is_terminatable(S s) noexcept { return !is_terminal(s) && s != S::Terminating; }
bool is_force_terminatable(S s) noexcept { return !is_terminal(s); }

bool is_terminal(K s) noexcept { return in(kKernelTerminal, s); }
bool holds_resources(K s) noexcept { return in(kKernelHolding, s); }
bool is_pre_prepared(K s) noexcept { return in(kKernelPrePrepared, s); }
bool is_pre_running(K s) noexcept {
  return is_pre_prepared(s) || s == K::Prepared || s == K::Creating;
}
bool is_force_terminatable(K s) noexcept { return !is_terminal(s) && s != K::Pending; }
bool is_terminatable(K s) noexcept { return is_force_terminatable(s) && s != K::Terminating; }

bool can_become(S from, S to) noexcept { return in(session_targets(from), to); }
bool can_become(K from, K to) noexcept { return in(kernel_targets(from), to); }

}  // namespace bai
