// Ended sessions leave the memory after a while; storage keeps them.
#include <algorithm>
#include <unordered_set>

#include "core/handlers.hpp"
#include "core/reservations.hpp"

namespace bai::core {

namespace {

constexpr std::size_t kEvictedMax = 10'000;  // sessions in one go: the loop has more to do

Duration until_next(const Options& options, bool has_more) {
  if (has_more) return seconds(1);
  return std::clamp(nanoseconds(options.keep_ended.ns / 16), seconds(1), seconds(300));
}

}  // namespace

void evict_ended(Context& ctx) {
  drop_over_reservations(ctx);
  std::vector<SessionId> ended;
  std::unordered_set<std::string> needed;  // others are not started before these have succeeded
  ctx.state().table<Session>().for_each([&](const Session& session) {
    if (!is_terminal(session.status)) {
      needed.insert(session.dependencies.begin(), session.dependencies.end());
    } else if (session.terminated_at + ctx.options.keep_ended <= ctx.now) {
      ended.push_back(session.id);
    }
    return true;
  });
  std::erase_if(ended, [&](const SessionId& id) { return needed.contains(to_string(id)); });
  const bool has_more = ended.size() > kEvictedMax;
  if (has_more) ended.resize(kEvictedMax);
  for (const SessionId& id : ended) {
    for (const auto& kernel : ctx.state().kernels_of(id)) ctx.changes.evict<Kernel>(kernel->id);
    ctx.changes.evict<Session>(id);
  }
  ctx.outbox.timers.push_back(
      {ctx.now + until_next(ctx.options, has_more), TimerKind::Eviction, {}});
}

}  // namespace bai::core
